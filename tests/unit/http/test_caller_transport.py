"""What waits for the end of a turn goes out, or with its connection."""

import asyncio
from typing import Any, cast

import uvloop

from neuronetz_gateway.http.caller_transport import CallerTransport
from neuronetz_gateway.http.turn_writes import TurnWrites


class _Answering(asyncio.Protocol):
    """Begins an answer on a connection that its other side has reset in the same turn."""

    def __init__(self) -> None:
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)  # uvloop's are so in all but their bases
        self.transport = CallerTransport(wire, asyncio.get_running_loop(), TurnWrites(), lambda: None)
        wire.abort()  # the loop tells it behind whatever is ready to run, as it tells a reset
        self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.transport.lost()
        self.ended.set_result(None)


async def _complaints() -> list[dict[str, Any]]:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    answering = _Answering()
    server = await loop.create_server(lambda: answering, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    async with asyncio.timeout(5):
        await answering.ended
    await asyncio.sleep(0)
    writer.close()
    server.close()
    return complaints


def test_a_head_that_waits_while_its_connection_is_lost_is_dropped_in_silence() -> None:
    """uvloop refuses what is written to a closed transport: a caller who reset its connection in the turn in which its
    answer began had an error with a traceback put into the log, each time."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_complaints()) == []
