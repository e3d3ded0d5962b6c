"""Redis killed, hanging, broken, full: an error in time, service again without a restart."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from neuronetz_gateway.counters.admissions import Cold, RateCounters
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import CountersUnavailableError, EvictingStoreError, ReplicaStoreError
from neuronetz_gateway.counters.key_cache import KeyCache
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from tests.support.counters import Server, WarmingCounters, a_principal, batched
from tests.support.fake_redis import FakeRedis, fake_redis

pytestmark = [pytest.mark.promise("F1"), pytest.mark.alone]
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
        await WarmingCounters(connection).admit(a_principal(), uuid7(), 1)
    assert time.monotonic() - began < DEADLINE_SECONDS * SLACK
    assert caught.value.__cause__ is not None
    return caught.value


async def serves_again(connection: BatchedRedis) -> None:
    async with asyncio.timeout(BACK_SECONDS):
        while True:
            try:
                assert isinstance(await WarmingCounters(connection).admit(a_principal(), uuid7(), 1), Admission)
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
    leases = f"nz:{{{principal.tenant_id.hex}}}:leases"
    async with batched(server.url) as connection:
        assert isinstance(await WarmingCounters(connection).admit(principal, uuid7(), 1), Admission)
        server.ask("SET", leases, "nonsense")
        with pytest.raises(CountersUnavailableError) as caught:
            await WarmingCounters(connection).admit(principal, uuid7(), 1)
        assert "WRONGTYPE" in str(caught.value.__cause__)


async def test_read_only(server: Server) -> None:
    async with batched(server.url) as connection:
        await serves_again(connection)
        server.ask("REPLICAOF", "127.0.0.1", "1")
        try:
            assert "READONLY" in str((await fails_in_time(connection)).__cause__)
            assert isinstance((await fails_in_time(connection)).__cause__, ReplicaStoreError)
        finally:
            server.ask("REPLICAOF", "NO", "ONE")
        await serves_again(connection)


@pytest.mark.promise("F1", "L1")
async def test_a_replica_that_takes_writes_is_not_talked_to(server: Server) -> None:
    """It would count for itself, then forget it all when it follows its primary again."""
    server.ask("CONFIG", "SET", "replica-read-only", "no")
    server.ask("REPLICAOF", "127.0.0.1", "1")
    try:
        async with batched(server.url) as connection:
            assert isinstance((await fails_in_time(connection)).__cause__, ReplicaStoreError)
    finally:
        server.ask("REPLICAOF", "NO", "ONE")
        server.ask("CONFIG", "SET", "replica-read-only", "yes")


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
            await WarmingCounters(connection).heartbeat(admission.tenant_id, [admission])
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


async def ponged(connection: BatchedRedis) -> None:
    """Waits until Redis is no longer given up."""
    async with asyncio.timeout(BACK_SECONDS):
        while True:
            try:
                assert await connection.call("PING") == b"PONG"
            except CountersUnavailableError:
                await asyncio.sleep(0.01)
            else:
                return


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
        await ponged(connection)
        assert fake.connections == 2


async def test_after_a_silence_nobody_waits_any_more(mortal: Server) -> None:
    """Each call once waited out its deadline, so that an outage of minutes cost every request its quarter second."""
    async with batched(mortal.url, timeout_seconds=2) as connection:
        await serves_again(connection)
        with mortal.frozen():
            with pytest.raises(CountersUnavailableError):
                await connection.call("PING")
            began = time.monotonic()
            for _ in range(1000):
                with pytest.raises(CountersUnavailableError) as caught:
                    await connection.call("PING")
                assert isinstance(caught.value.__cause__, TimeoutError)
            assert time.monotonic() - began < 1
        await ponged(connection)


async def test_after_a_refused_connection_nobody_waits_any_more(mortal: Server) -> None:
    async with batched(mortal.url, timeout_seconds=2) as connection:
        await serves_again(connection)
        mortal.kill()
        try:
            for _ in range(2):  # the end of the connection, then that there is no other
                with pytest.raises(CountersUnavailableError):
                    await connection.call("PING")
            refused = connection.call("PING")
            assert refused.done()
            assert isinstance(refused.exception(), CountersUnavailableError)
        finally:
            mortal.revive()
        await ponged(connection)


async def test_a_server_that_is_always_too_late_is_given_up(tmp_path: Path) -> None:
    """Its connection was kept as long as it talked, so that every call waited out its deadline: slow is away, too."""
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
        assert connection.call("PING").exception() is not None
        await ponged(connection)
        assert fake.connections == 2


async def test_a_server_that_answers_the_probe_too_late_stays_given_up(tmp_path: Path) -> None:
    async with (
        fake_redis(tmp_path, lambda _: b"+PONG\r\n") as (fake, url),
        batched(url, timeout_seconds=DEADLINE_SECONDS) as connection,
    ):
        fake.greets_after_seconds = 2 * DEADLINE_SECONDS
        await fails_in_time(connection)
        await asyncio.sleep(3 * DEADLINE_SECONDS)
        assert connection.call("PING").exception() is not None
        fake.greets_after_seconds = 0.0
        await ponged(connection)


@pytest.mark.promise("F1", "L1")
async def test_a_call_carries_the_run_id_of_the_server_that_it_is_sent_to(tmp_path: Path) -> None:
    """A call that waited over a reconnect would otherwise name the last server, whose memory may be another's."""
    seen: list[bytes] = []

    def answer(command: list[bytes]) -> bytes:
        seen.append(command[-1])
        return b"*1\r\n$4\r\ncold\r\n"

    async with fake_redis(tmp_path, answer) as (fake, url), batched(url) as connection:
        counters, principal = RateCounters(connection), a_principal()
        assert await counters.admit(principal, uuid7(), 1) == Cold()
        fake.reset()
        await asyncio.sleep(0.01)
        fake.run_id = b"another"
        waiting = [asyncio.ensure_future(counters.admit(principal, uuid7(), 1)) for _ in range(3)]
        assert await asyncio.gather(*waiting) == [Cold()] * 3
    assert seen == [FakeRedis.RUN_ID, b"another", b"another", b"another"]


@pytest.mark.promise("F1", "L1")
async def test_a_server_that_evicts_is_not_talked_to(server: Server) -> None:
    """It was asked when the gateway started; a failover to a replica of other settings came later."""
    async with batched(server.url) as connection:
        await serves_again(connection)
        server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            server.ask("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.01)
            error = await fails_in_time(connection)
            assert isinstance(error.__cause__, EvictingStoreError)
            with pytest.raises(EvictingStoreError):
                await RateCounters(connection).check_eviction_policy()
        finally:
            server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await serves_again(connection)
