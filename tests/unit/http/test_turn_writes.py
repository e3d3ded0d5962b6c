"""What a turn of the event loop has for its callers goes out at its end."""

import asyncio

from neuronetz_gateway.http.caller_transport import CallerTransport
from neuronetz_gateway.http.turn_writes import TurnWrites

BROKEN = b"cannot be written"


class Wire(asyncio.Transport):
    """Writes down, in a list shared with others, what it was told to write."""

    def __init__(self, name: str, written: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self.name, self.written, self.closing = name, written, False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data == BROKEN:
            raise MemoryError
        self.written.append((self.name, bytes(data)))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True


class Callers:
    """Two connections of one server."""

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes]] = []
        loop, turn = asyncio.get_running_loop(), TurnWrites()
        self.ended: list[list[tuple[str, bytes]]] = []
        self.one, self.two = (
            CallerTransport(Wire(name, self.written), loop, turn, lambda: self.ended.append(list(self.written)))
            for name in ("one", "two")
        )


async def test_each_connection_is_written_once_a_turn_in_the_order_of_what_came() -> None:
    callers = Callers()
    callers.one.write(b"head ")
    callers.two.write(b"other")
    callers.one.write(b"body")
    assert callers.written == []
    assert callers.one.get_write_buffer_size() == 9
    await asyncio.sleep(0)
    assert callers.written == [("one", b"head body"), ("two", b"other")]
    callers.one.write(b"next turn")
    await asyncio.sleep(0)
    assert callers.written[2:] == [("one", b"next turn")]
    await asyncio.sleep(0)
    assert len(callers.written) == 3


async def test_what_is_large_leaves_at_once_so_that_the_wire_can_say_no() -> None:
    callers = Callers()
    callers.one.write(b"a")
    callers.one.write(b"b" * 16 * 1024)
    assert callers.written == [("one", b"a" + b"b" * 16 * 1024)]
    callers.one.write(b"c")
    await asyncio.sleep(0)
    assert callers.written[1:] == [("one", b"c")]


async def test_an_end_comes_behind_what_waited() -> None:
    callers = Callers()
    callers.one.write(b"the last answer")
    callers.one.close()
    assert callers.ended == [[("one", b"the last answer")]]
    callers.one.write(b"too late")
    await asyncio.sleep(0)
    assert callers.written == [("one", b"the last answer")]


async def test_what_is_aborted_or_gone_drops_what_waited_nobody_else_s() -> None:
    callers = Callers()
    for gone in (CallerTransport.abort, CallerTransport.lost):
        callers = Callers()
        callers.one.write(b"dropped")
        callers.two.write(b"kept")
        gone(callers.one)
        await asyncio.sleep(0)
        assert callers.written == [("two", b"kept")]


async def test_one_that_cannot_be_written_ends_alone() -> None:
    """Those behind it in the same turn kept what they had to write, and were never asked for it again."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(type(context["exception"])))
    callers = Callers()
    callers.one.write(BROKEN)
    callers.two.write(b"whole")
    await asyncio.sleep(0)
    assert callers.written == [("two", b"whole")]
    assert told == [MemoryError]
    assert (callers.one.is_closing(), callers.two.is_closing()) == (True, False)
