"""Log lines leave together once a turn of the event loop, none of them later than that, none lost."""

import asyncio
import io
import subprocess
import sys
import threading

from neuronetz_gateway.observability.log_lines import LogLines


class _Stream(io.BytesIO):
    def __init__(self) -> None:
        super().__init__()
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1


async def test_the_lines_of_one_turn_leave_in_one_write_in_their_order() -> None:
    stream = _Stream()
    lines = LogLines(stream)
    lines.info(b"one")
    lines.warning(b"two")
    assert stream.getvalue() == b""
    await asyncio.sleep(0)
    assert (stream.getvalue(), stream.flushes) == (b"one\ntwo\n", 1)
    lines.info(b"three")
    await asyncio.sleep(0)
    assert stream.getvalue() == b"one\ntwo\nthree\n"


def test_outside_an_event_loop_a_line_leaves_at_once() -> None:
    stream = _Stream()
    LogLines(stream).error(b"one")
    assert stream.getvalue() == b"one\n"


async def test_a_line_of_another_thread_is_not_lost() -> None:
    stream = _Stream()
    lines = LogLines(stream)
    lines.info(b"one")
    thread = threading.Thread(target=lines.info, args=(b"two",))
    thread.start()
    thread.join()
    assert stream.getvalue() == b"one\ntwo\n"


def test_a_loop_that_ended_amidst_a_turn_does_not_silence_the_next_one() -> None:
    stream = _Stream()
    lines = LogLines(stream)

    async def log(line: bytes) -> None:
        lines.info(line)
        asyncio.get_running_loop().stop()

    for line in (b"one", b"two"):
        loop = asyncio.new_event_loop()
        task = loop.create_task(log(line))
        loop.run_forever()
        assert task.done()
        loop.close()
    lines.flush()
    assert stream.getvalue() == b"one\ntwo\n"


def test_nothing_is_lost_when_the_process_ends_amidst_a_turn() -> None:
    program = (
        "import asyncio, sys, structlog\n"
        "from neuronetz_gateway.observability.logging import configure_logging\n"
        "configure_logging('info')\n"
        "async def end():\n"
        "    structlog.get_logger().info('the last word')\n"
        "    sys.exit(3)\n"
        "asyncio.run(end())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=30)
    assert ended.returncode == 3
    assert b"the last word" in ended.stderr
