"""Calls to Redis in fair weather."""

import asyncio
import socket
from pathlib import Path

import pytest
from hiredis import ReplyError

from neuronetz_gateway.counters.admissions import Closing
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import CountersUnavailableError
from neuronetz_gateway.counters.scripts import ADMIT
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from tests.support.counters import Server, WarmingCounters, a_principal, batched
from tests.support.fake_redis import fake_redis


async def test_what_one_turn_of_the_loop_brings_leaves_together(tmp_path: Path) -> None:
    async with fake_redis(tmp_path, lambda _: b":1\r\n") as (fake, url), batched(url) as connection:
        assert await connection.call("PING") == 1
        assert await asyncio.gather(*(connection.call("INCR", index) for index in range(50))) == [1] * 50
        assert fake.reads == [1, 50]
        assert fake.connections == 1


async def test_each_caller_gets_its_own_reply(connection: BatchedRedis) -> None:
    replies = await asyncio.gather(*(connection.call("ECHO", index) for index in range(500)))
    assert replies == [str(index).encode() for index in range(500)]


async def test_the_error_of_one_call_is_not_its_neighbours(connection: BatchedRedis) -> None:
    await connection.call("SET", "text", "x")
    replies: list[object] = await asyncio.gather(
        connection.call("ECHO", "1"),
        connection.call("HGET", "text", "f"),
        connection.call("ECHO", "2"),
        return_exceptions=True,
    )
    before, wrong, after = replies
    assert (before, after) == (b"1", b"2")
    assert isinstance(wrong, CountersUnavailableError)
    assert isinstance(wrong.__cause__, ReplyError)
    assert "WRONGTYPE" in str(wrong.__cause__)
    assert "WRONGTYPE" not in wrong.message


async def test_callers_who_leave_disturb_nobody(connection: BatchedRedis) -> None:
    await connection.call("PING")
    for leave_after in (0, 1, 2):  # before it is sent, when it is under way, about when it is answered
        tasks = [asyncio.ensure_future(connection.call("ECHO", index)) for index in range(40)]
        for _ in range(leave_after):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert replies[1::2] == [str(index).encode() for index in range(1, 40, 2)]
    assert await connection.call("ECHO", "still here") == b"still here"


@pytest.mark.promise("F1")
async def test_a_forgotten_script_is_taught_again_without_losing_or_doubling_a_call(
    server: Server, counters: WarmingCounters
) -> None:
    principal = a_principal()
    for _ in range(3):
        server.ask("SCRIPT", "FLUSH")
        verdicts = await asyncio.gather(*(counters.admit(principal, uuid7(), 1) for _ in range(20)))
        assert all(isinstance(verdict, Admission) for verdict in verdicts)
    rates = server.contents()[f"nz:{{{principal.tenant_id.hex}}}:rates"]
    assert isinstance(rates, dict)
    assert rates[b"requests"] == b"60"
    assert server.ask("SCRIPT", "EXISTS", ADMIT.sha)[0] in (True, 1)


async def test_after_closing_every_call_fails_at_once(server: Server) -> None:
    async with batched(server.url) as connection:
        await connection.call("PING")
        waiting = connection.call("BLPOP", "nothing", 0)
        await asyncio.sleep(0)
    for future in (waiting, connection.call("PING")):
        with pytest.raises(CountersUnavailableError):
            await future


@pytest.mark.parametrize("protocol", [2, 3])
async def test_over_tcp_in_another_database(server: Server, protocol: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server.ask("CONFIG", "SET", "port", port)
    try:
        async with batched(f"redis://127.0.0.1:{port}/3?protocol={protocol}") as connection:
            await connection.call("SET", "here", "x")
            assert b"db3:keys=1" in await connection.call("INFO", "keyspace")
    finally:
        server.ask("CONFIG", "SET", "port", 0)


async def test_keys_of_one_tenant_share_a_hash_slot(server: Server, counters: WarmingCounters) -> None:
    principal = a_principal()
    admission = await counters.admit(principal, uuid7(), 1)
    assert isinstance(admission, Admission)
    await counters.close(Closing.of(admission, None))
    await counters.close(Closing.of(admission, None))
    names = server.ask("KEYS", "*")
    assert len(names) == 4  # both rates, warm since, the mark of the second undoing
    assert all(f"{{{principal.tenant_id.hex}}}".encode() in name for name in names)
