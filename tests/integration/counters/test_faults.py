"""Redis killed, hanging, broken, full: an error in time, service again without a restart."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from neuronetz_gateway.counters.admissions import RateCounters
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import CountersUnavailableError
from neuronetz_gateway.counters.key_cache import KeyCache
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from tests.support.counters import Server, a_principal, batched
from tests.support.fake_redis import fake_redis

pytestmark = pytest.mark.promise("F1")
DEADLINE_SECONDS = 0.2
SLACK = 3
BACK_SECONDS = 2.0


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("m"))
    yield server
    server.stop()


async def fails_in_time(connection: BatchedRedis) -> CountersUnavailableError:
    began = time.monotonic()
    with pytest.raises(CountersUnavailableError, match="Nothing was sent to the model") as caught:
        await RateCounters(connection).admit(a_principal(), uuid7(), 1)
    assert time.monotonic() - began < DEADLINE_SECONDS * SLACK
    assert caught.value.__cause__ is not None
    return caught.value


async def serves_again(connection: BatchedRedis) -> None:
    async with asyncio.timeout(BACK_SECONDS):
        while True:
            try:
                assert isinstance(await RateCounters(connection).admit(a_principal(), uuid7(), 1), Admission)
            except CountersUnavailableError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_killed_then_started_again(mortal: Server) -> None:
    async with batched(mortal.url, timeout_seconds=DEADLINE_SECONDS) as connection:
        await serves_again(connection)
        mortal.kill()
        try:
            for _ in range(3):
                await fails_in_time(connection)
        finally:
            mortal.revive()
        await serves_again(connection)


async def test_killed_with_many_calls_under_way(mortal: Server) -> None:
    async with batched(mortal.url, timeout_seconds=5) as connection:
        await connection.call("PING")
        waiting = [connection.call("BLPOP", "nothing", 0) for _ in range(100)]
        await asyncio.sleep(0)
        mortal.kill()
        try:
            async with asyncio.timeout(1):
                outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            mortal.revive()
        assert all(isinstance(outcome, CountersUnavailableError) for outcome in outcomes)
        assert len({id(outcome) for outcome in outcomes}) == 100
        await serves_again(connection)


async def test_hanging(mortal: Server) -> None:
    async with batched(mortal.url, timeout_seconds=DEADLINE_SECONDS) as connection:
        await serves_again(connection)
        with mortal.frozen():
            for _ in range(3):
                await fails_in_time(connection)
            await asyncio.gather(*(fails_in_time(connection) for _ in range(50)))
        await serves_again(connection)


async def test_hanging_from_the_first_call_on(mortal: Server) -> None:
    async with batched(mortal.url, timeout_seconds=DEADLINE_SECONDS) as connection:
        with mortal.frozen():
            await fails_in_time(connection)
        await serves_again(connection)


async def test_paused(server: Server) -> None:
    async with batched(server.url, timeout_seconds=DEADLINE_SECONDS) as connection:
        await serves_again(connection)
        server.ask("CLIENT", "PAUSE", 700, "WRITE")
        await fails_in_time(connection)
        await serves_again(connection)


async def test_full(server: Server) -> None:
    async with batched(server.url) as connection:
        server.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            assert "OOM" in str((await fails_in_time(connection)).__cause__)
        finally:
            server.ask("CONFIG", "SET", "maxmemory", "0")
        await serves_again(connection)


async def test_a_key_of_the_wrong_type(server: Server) -> None:
    principal = a_principal()
    server.ask("SET", f"nz:{{{principal.tenant_id.hex}}}:leases", "nonsense")
    async with batched(server.url) as connection:
        with pytest.raises(CountersUnavailableError) as caught:
            await RateCounters(connection).admit(principal, uuid7(), 1)
        assert "WRONGTYPE" in str(caught.value.__cause__)


async def test_read_only(server: Server) -> None:
    async with batched(server.url) as connection:
        await serves_again(connection)
        server.ask("REPLICAOF", "127.0.0.1", "1")
        try:
            assert "READONLY" in str((await fails_in_time(connection)).__cause__)
        finally:
            server.ask("REPLICAOF", "NO", "ONE")
        await serves_again(connection)


async def test_a_wrong_password(server: Server) -> None:
    server.ask("CONFIG", "SET", "requirepass", "right")
    try:
        async with batched(server.url.replace("unix://", "unix://:wrong@")) as connection:
            error = await fails_in_time(connection)
            assert "right" not in str(error)
            assert "wrong" not in str(error.__cause__)
        async with batched(server.url) as connection:
            await fails_in_time(connection)
        async with batched(server.url.replace("unix://", "unix://:right@")) as connection:
            await serves_again(connection)
            await connection.call("CONFIG", "SET", "requirepass", "")
    finally:
        if server.ask("PING") is not True:
            raise AssertionError("the password was left behind")


@pytest.mark.parametrize(
    "reply",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-ERR something else\r\n",
        b"*0\r\n",
        b":7\r\n",
        b"$-1\r\n",
    ],
)
async def test_errors_and_unknown_replies(tmp_path: Path, reply: bytes) -> None:
    async with fake_redis(tmp_path, lambda _: reply) as (_, url), batched(url) as connection:
        await fails_in_time(connection)


async def test_replies_of_another_shape_to_a_heartbeat_and_to_the_cache(tmp_path: Path) -> None:
    admission = Admission(uuid7(), uuid7(), uuid7(), datetime.now(UTC), 1)
    async with fake_redis(tmp_path, lambda _: b"*1\r\n:9\r\n") as (_, url), batched(url) as connection:
        with pytest.raises(CountersUnavailableError):
            await RateCounters(connection).heartbeat(admission.tenant_id, [admission])
        with pytest.raises(CountersUnavailableError):
            await KeyCache(connection, mac_key=b"m", ttl_seconds=1).find(b"n" * 32)


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01\x02", b"*-7\r\n", b":1\r\n:2\r\n"])
async def test_garbage_costs_the_connection_and_nothing_else(tmp_path: Path, garbage: bytes) -> None:
    async with (
        fake_redis(tmp_path, lambda _: garbage) as (fake, url),
        batched(url, timeout_seconds=DEADLINE_SECONDS) as connection,
    ):
        await fails_in_time(connection)
        fake.answer = lambda _: b"+PONG\r\n"
        await asyncio.sleep(0)
        assert await connection.call("PING") == b"PONG"
        assert fake.connections == 2


async def test_a_reset_connection(tmp_path: Path) -> None:
    async with fake_redis(tmp_path, lambda _: b"+PONG\r\n") as (fake, url), batched(url) as connection:
        assert await connection.call("PING") == b"PONG"
        fake.reset()
        fake.answer = lambda _: None
        await asyncio.sleep(0.01)
        fake.answer = lambda _: b"+PONG\r\n"
        assert await connection.call("PING") == b"PONG"
        assert fake.connections == 2


async def test_a_connection_whose_other_end_is_gone_is_left_for_a_new_one(tmp_path: Path) -> None:
    """Half open: nothing is refused and nothing comes. Only the deadline tells."""
    async with (
        fake_redis(tmp_path, lambda _: b"+PONG\r\n") as (fake, url),
        batched(url, timeout_seconds=DEADLINE_SECONDS) as connection,
    ):
        assert await connection.call("PING") == b"PONG"
        fake.answer = lambda _: None
        await fails_in_time(connection)
        fake.answer = lambda _: b"+PONG\r\n"
        assert await connection.call("PING") == b"PONG"
        assert fake.connections == 2


async def test_a_slow_server_that_still_talks_keeps_its_connection(tmp_path: Path) -> None:
    """Dropping the connection would lose the calls behind the slow one as well."""
    async with (
        fake_redis(tmp_path, lambda command: None if command[0] == b"SLOW" else b"+PONG\r\n") as (fake, url),
        batched(url, timeout_seconds=DEADLINE_SECONDS) as connection,
    ):
        assert await connection.call("PING") == b"PONG"
        slow = connection.call("SLOW")
        await asyncio.sleep(DEADLINE_SECONDS / 2)
        for writer in fake._writers:
            writer.write(b"$4\r\nla")  # it talks, though not enough
        with pytest.raises(CountersUnavailableError):
            await slow
        for writer in fake._writers:
            writer.write(b"te\r\n")
        assert await connection.call("PING") == b"PONG"
        assert fake.connections == 1
