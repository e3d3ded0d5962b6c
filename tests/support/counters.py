"""A real Valkey with counters on it, as the tests of limits need them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import redis
import redis.asyncio

from neuronetz_gateway.counters.admissions import Cold, RateCounters, RebuildNotBegun, Seen, Verdict
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.rate_history import NO_HISTORY
from neuronetz_gateway.embedded.valkey import EmbeddedValkey

NO_LIMITS = Limits()


class Server:
    """A running Valkey, seen past the gateway; `kill`, `revive` and `frozen` are its faults."""

    def __init__(self, directory: Path) -> None:
        self._valkey = EmbeddedValkey(directory, durable=False)
        self._valkey.start()
        self.url = self._valkey.url

    def ask(self, *command: str | int | bytes) -> Any:
        """Runs one command on a connection of its own."""
        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(*command)

    def ask_as(self, password: str, *command: str | int | bytes) -> Any:
        """The same with a password."""
        with redis.Redis.from_url(self.url, password=password) as client:
            return client.execute_command(*command)

    def contents(self) -> dict[str, object]:
        """Every hash and sorted set, read whole; the tail of a window moves with the clock alone, so it is left out."""
        names = sorted(cast("list[bytes]", self.ask("KEYS", "*")))
        readers = {b"hash": ("HGETALL",), b"zset": ("ZRANGE", "0", "-1")}
        found: dict[str, object] = {}
        for name in names:
            reader = readers.get(self.ask("TYPE", name))
            if reader:
                value = self.ask(reader[0], name, *reader[1:])
                if isinstance(value, dict):
                    value.pop(b"tail", None)
                found[name.decode()] = value
        return found

    def held(self) -> int:
        """How many places are taken, over all tenants and keys."""
        return sum(int(self.ask("ZCARD", name)) for name in self.ask("KEYS", "*:leases*"))

    def clear(self) -> None:
        """Forgets all data and all scripts, settings go back to their defaults."""
        self.ask("FLUSHALL")
        self.ask("SCRIPT", "FLUSH")

    def kill(self) -> None:
        """Ends the process without warning; it can be revived."""
        os.kill(self.pid, signal.SIGKILL)
        self._valkey.stop()

    def revive(self) -> None:
        """Starts it again at the same address."""
        self._valkey.start()
        assert self._valkey.url == self.url

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops the process without closing anything, as a hanging host would."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ends it for good."""
        self._valkey.stop()

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.ask("INFO", "server")["process_id"])


class WarmingCounters(RateCounters):
    """Counters without a ledger: a tenant that is found cold is made warm with `history`, mostly nothing."""

    history = NO_HISTORY

    async def admit(self, principal: Principal, admission_id: UUID, estimated_tokens: int) -> Verdict:
        verdict = await super().admit(principal, admission_id, estimated_tokens)
        if isinstance(verdict, Cold):
            await self.make_warm(principal.tenant_id)
            verdict = await super().admit(principal, admission_id, estimated_tokens)
        return verdict

    async def look(self, tenant_id: UUID, api_key_id: UUID) -> Seen:
        seen = await super().look(tenant_id, api_key_id)
        if isinstance(seen, Cold):
            await self.make_warm(tenant_id)
            seen = await super().look(tenant_id, api_key_id)
        assert isinstance(seen, Seen)
        return seen

    async def make_warm(self, tenant_id: UUID) -> None:
        rebuild_id = uuid7()  # a caller who leaves in between leaves its mark, which the others wait out
        while (begun := await self.begin_rebuild(tenant_id, rebuild_id, within_seconds=2)) is not RebuildNotBegun.WARM:
            if begun is RebuildNotBegun.UNDER_WAY:
                await asyncio.sleep(0.001)
            elif await self.finish_rebuild(tenant_id, rebuild_id, 1, self.history):
                return  # else this machine stood still for those two seconds, which is no test's fault


async def no_ledger(principal: Principal) -> None:
    """For a limiter whose counters make tenants warm themselves."""
    raise AssertionError(f"{principal.tenant_id} is cold")


@asynccontextmanager
async def batched(url: str, *, timeout_seconds: float = 2.0) -> AsyncIterator[BatchedRedis]:
    """The connection under test; the deadline is generous, since tests share their machine."""
    client = redis.asyncio.Redis.from_url(url)
    connection = BatchedRedis(client, timeout_seconds=timeout_seconds)
    try:
        yield connection
    finally:
        await connection.aclose()
        await client.aclose()


def a_principal(
    *,
    tenant: Limits = NO_LIMITS,
    key: Limits = NO_LIMITS,
    tenant_id: UUID | None = None,
    api_key_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> Principal:
    """A caller with these limits."""
    return Principal(
        tenant_id=tenant_id or uuid7(),
        tenant_name="acme",
        tenant_version=1,
        api_key_id=api_key_id or uuid7(),
        key_prefix="nz_abcdefghi",
        key_name="ci",
        key_version=1,
        tenant_limits=tenant,
        key_limits=key,
        allow_all_models=True,
        allowed_models=frozenset(),
        time_zone="UTC",
        expires_at=expires_at,
    )


def requests_left(admission: Admission) -> int:
    """What the scope that binds had left of its requests a minute, with this one counted."""
    assert admission.standing is not None
    assert admission.standing.requests is not None
    return admission.standing.requests.left


def tokens_left(admission: Admission) -> int:
    """The same of its tokens a minute."""
    assert admission.standing is not None
    assert admission.standing.tokens is not None
    return admission.standing.tokens.left
