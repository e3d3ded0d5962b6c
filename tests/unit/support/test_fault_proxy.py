"""Every fault of the fault proxy, seen from both sides of real sockets."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.echo import QUIET_SECONDS, Caller, Echo, listening
from tests.support.fault_proxy import Direction, FaultProxy, redis_commands
from tests.support.fault_proxy_connection import Asks

type Connect = Callable[[], Awaitable[Caller]]


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    async with listening(echo) as port, FaultProxy("127.0.0.1", port, dice=random.Random(7)) as proxy:
        yield proxy


@pytest.fixture
async def connect(proxy: FaultProxy) -> AsyncIterator[Connect]:
    writers: list[asyncio.StreamWriter] = []

    async def connected() -> Caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(writer)
        return Caller(reader, writer)

    yield connected
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.002)


async def test_healthy_it_passes_everything_and_counts(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    text = random.Random(1).randbytes(3_000_000)
    caller = await connect()
    caller.writer.write(text)
    assert await caller.hears(len(text)) == text
    assert (proxy.connections, proxy.connections_open) == (1, 1)
    assert proxy.bytes_up == proxy.bytes_down == len(text)
    caller.writer.write_eof()
    assert await caller.rest() == b""
    await until(lambda: proxy.connections_open == 0 and echo.ended == 1)


async def test_it_passes_to_a_unix_socket(echo: Echo, tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(echo.serve, tmp_path / "echo")
    async with FaultProxy("", tmp_path / "echo") as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
        assert await Caller(reader, writer).asks(b"hello") == b"hello"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    await until(lambda: echo.ended == 1)
    server.close()


async def test_a_slow_reader_holds_up_its_sender(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    caller = await connect()
    proxy.hang()
    caller.writer.write(bytes(40_000_000))
    await asyncio.sleep(QUIET_SECONDS)
    assert caller.writer.transport.get_write_buffer_size() > 0
    assert not echo.received
    proxy.heal()
    await caller.hears(40_000_000)


async def test_refusing_cuts_what_runs_and_lets_nobody_in_until_healed(proxy: FaultProxy, connect: Connect) -> None:
    running = await connect()
    await running.asks(b"hello")
    port = proxy.port
    proxy.refuse()
    assert await running.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await connect()
    proxy.heal()
    assert proxy.port == port
    assert await (await connect()).asks(b"again") == b"again"


async def test_refusing_can_keep_what_runs(proxy: FaultProxy, connect: Connect) -> None:
    running = await connect()
    await running.asks(b"hello")
    proxy.refuse(keep_running=True)
    with pytest.raises(ConnectionRefusedError):
        await connect()
    assert await running.asks(b"still here") == b"still here"


async def test_hanging_it_accepts_and_passes_nothing_until_healed(
    proxy: FaultProxy, echo: Echo, connect: Connect
) -> None:
    running = await connect()
    await running.asks(b"a")
    proxy.hang()
    fresh = await connect()
    for caller in (running, fresh):
        caller.writer.write(b"b")
        assert await caller.hears_nothing()
    assert echo.received == b"a"
    proxy.heal()
    assert [await caller.hears(1) for caller in (running, fresh)] == [b"b", b"b"]


async def test_hanging_hides_the_end_of_a_caller_until_healed(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    caller = await connect()
    await caller.asks(b"a")
    proxy.hang()
    caller.writer.close()
    await asyncio.sleep(QUIET_SECONDS)
    assert (echo.ended, echo.broken) == (0, 0)
    proxy.heal()
    await until(lambda: echo.ended == 1)


async def test_a_caller_who_breaks_off_in_a_hang_is_not_forgotten(
    proxy: FaultProxy, echo: Echo, connect: Connect
) -> None:
    """Such a connection was dropped from the books by the next one, so its server was never told."""
    caller = await connect()
    await caller.asks(b"a")
    proxy.hang()
    caller.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.writer.transport.abort()
    await asyncio.sleep(QUIET_SECONDS)
    await connect()
    await until(lambda: proxy.connections_open == 2)
    assert (echo.ended, echo.broken) == (0, 0)
    proxy.heal()
    await until(lambda: echo.broken == 1)


async def test_a_connection_that_lost_bytes_is_reset_when_healed(
    proxy: FaultProxy, echo: Echo, connect: Connect
) -> None:
    torn, idle = await connect(), await connect()
    await torn.asks(b"a")
    await idle.asks(b"a")
    proxy.hang(keep=False)
    torn.writer.write(b"lost")
    assert await torn.hears_nothing()
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        await torn.rest()
    assert await idle.asks(b"b") == b"b"
    assert b"lost" not in echo.received


async def test_half_open_silences_one_direction(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    caller = await connect()
    proxy.half_open(Direction.DOWN)
    caller.writer.write(b"up")
    await until(lambda: echo.received == b"up")
    assert await caller.hears_nothing()
    proxy.half_open(Direction.UP)
    assert await caller.hears(2) == b"up"
    caller.writer.write(b"more")
    assert await caller.hears_nothing()
    assert echo.received == b"up"


@pytest.mark.alone
async def test_latency_delays_each_direction_and_keeps_the_order(proxy: FaultProxy, connect: Connect) -> None:
    caller = await connect()
    proxy.latency(0.2, 0.1)
    before = time.monotonic()
    text = bytes(range(100))
    for byte in text:
        caller.writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert await caller.hears(len(text)) == text
    assert 0.4 <= time.monotonic() - before < 4  # not a hundred delays one after the other
    proxy.heal()
    before = time.monotonic()
    await caller.asks(b"quick")
    assert time.monotonic() - before < 0.4


async def test_the_jitter_is_that_of_the_dice() -> None:
    echo, dice = Echo(), random.Random(5)
    async with listening(echo) as port, FaultProxy("127.0.0.1", port, dice=random.Random(5)) as proxy:
        proxy.latency(0, 0.2)
        caller = Caller(*await asyncio.open_connection("127.0.0.1", proxy.port))
        for _ in range(3):
            expected = (dice.random() + dice.random()) * 0.2
            before = time.monotonic()
            await caller.asks(b"x")
            assert expected <= time.monotonic() - before
        caller.writer.close()
        await until(lambda: echo.ended == 1)


async def test_bandwidth_bounds_the_rate(proxy: FaultProxy, connect: Connect) -> None:
    caller = await connect()
    proxy.bandwidth(20_000)
    before = time.monotonic()
    await caller.asks(bytes(4_000))
    assert 0.2 <= time.monotonic() - before < 4
    proxy.bandwidth(100)
    caller.writer.write(bytes(4_000))
    proxy.heal()  # what waits is not made to wait any longer
    await caller.hears(4_000)


@pytest.mark.parametrize("resets", [False, True])
async def test_a_limit_ends_the_answer_after_so_many_bytes(
    proxy: FaultProxy, echo: Echo, connect: Connect, *, resets: bool
) -> None:
    running = await connect()
    await running.asks(b"before")
    proxy.limit(10, resets=resets)
    fresh = await connect()
    for caller in (running, fresh):
        assert await caller.asks(b"12345678") == b"12345678"
        caller.writer.write(b"90ab")
        if resets:
            with pytest.raises(ConnectionResetError):
                await caller.rest()
        else:
            assert await caller.rest() == b"90"
    await until(lambda: echo.ended + echo.broken == 2)


async def test_a_limit_upwards_ends_the_request(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    proxy.limit(3, Direction.UP)
    caller = await connect()
    caller.writer.write(b"12345")
    await until(lambda: echo.ended == 1)
    assert echo.received == b"123"
    assert proxy.bytes_up == 3


async def test_a_reset_breaks_what_runs_and_serves_what_comes(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    caller = await connect()
    await caller.asks(b"a")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    await until(lambda: echo.broken == 1)
    assert await (await connect()).asks(b"b") == b"b"


async def test_a_cut_ends_what_runs_and_serves_what_comes(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    caller = await connect()
    await caller.asks(b"a")
    proxy.cut()
    assert await caller.rest() == b""
    await until(lambda: echo.ended == 1)
    assert await (await connect()).asks(b"b") == b"b"


async def test_an_answer_stands_in_for_the_server(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    running = await connect()
    await running.asks(b"a")
    proxy.answer(b"no!")
    for caller in (running, await connect()):
        caller.writer.write(b"PING")
        assert await caller.hears(3) == b"no!"
    proxy.heal()
    assert await running.asks(b"b") == b"b"
    assert echo.received == b"ab"


@pytest.mark.parametrize("messages", [None, redis_commands])
async def test_an_answer_never_overtakes_a_reply_of_the_server(messages: Callable[[], Asks] | None) -> None:
    """Swapped replies let a gateway admit one request on the verdict of another, which no server can cause."""
    ping, asked, may_reply = b"*1\r\n$4\r\nPING\r\n", asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2 * len(ping))
        writer.write(b"+1\r\n" if messages else b"")  # the second reply is under way, though this one was the last
        asked.set()
        await may_reply.wait()
        writer.write(b"+2\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1], messages=messages) as proxy:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", proxy.port))
        caller.writer.write(2 * ping)
        await asked.wait()
        if messages:
            assert await caller.hears(4) == b"+1\r\n"
        proxy.answer(b"+f\r\n", redis_commands)
        caller.writer.write(ping)
        assert await caller.hears_nothing()
        may_reply.set()
        assert await caller.hears(8) == b"+2\r\n+f\r\n"
        caller.writer.write(ping)
        assert await caller.hears(4) == b"+f\r\n"
        caller.writer.close()
    server.close()


async def test_each_command_of_a_redis_pipeline_gets_its_answer(proxy: FaultProxy, connect: Connect) -> None:
    caller = await connect()
    proxy.answer(b"-LOADING\r\n", redis_commands)
    ping = b"*1\r\n$4\r\nPING\r\n"
    caller.writer.write(ping + ping + ping[:5])
    assert await caller.hears(20) == b"-LOADING\r\n" * 2
    assert await caller.hears_nothing()
    caller.writer.write(ping[5:])
    assert await caller.hears(10) == b"-LOADING\r\n"


async def test_where_the_server_is_away_the_caller_is_cut_off(proxy: FaultProxy, echo: Echo) -> None:
    async with listening(echo) as port:
        pass
    async with FaultProxy("127.0.0.1", port) as dangling:
        reader, writer = await asyncio.open_connection("127.0.0.1", dangling.port)
        assert await Caller(reader, writer).rest() == b""
        writer.close()
    assert proxy.connections == 0
