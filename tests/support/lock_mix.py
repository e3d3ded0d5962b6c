"""Everything that locks rows of the ledger, in any mix: by gateways, by operators, by the upkeep of tables."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.repositories.admitted_requests import AdmittedRequests
from neuronetz_gateway.repositories.ledger import Ledger
from tests.support.ledgers import World, completed, make_ask, refusal_of
from tests.support.other_processes import WINDOW, register, request_of

_OF_THE_LEDGER = (BatchDataError, NotCommittedError, UnknownOutcomeError)
_VERSIONS = "select k.id, t.version, k.version as key from tenants t join api_keys k on k.tenant_id = t.id"
_ADJUST = "select adjust_r1($1, $2, $3, $4, 5, $5, $6, '', 'm', 'why', 'me', now())"
_CAP = "update tenants set output_cap = $2 where id = $1"
_NAME = "update api_keys set name = $2 where id = $1"
_LIMIT = (
    "insert into key_limits (api_key_id, tenant_id, rpm) values ($1, $2, 5)"
    " on conflict (api_key_id) do update set rpm = key_limits.rpm + 1"
)
_BUDGET = (
    "insert into budgets (tenant_id, scope_id, scope, period, limit_tokens) values ($1, $1, 'tenant', 'total', $2)"
    " on conflict (scope_id, period) do update set limit_tokens = excluded.limit_tokens"
)


@dataclass(slots=True)
class Mix:
    """What all attackers know of each other; `collide`: refusals come of requests that hold something, too."""

    world: World
    callers: list[Principal]
    processes: list[UUID]
    collide: bool
    held: list[UUID] = field(default_factory=list)
    refused: set[UUID] = field(default_factory=set)
    versions: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.versions = {each.api_key_id: (each.tenant_version, each.key_version) for each in self.callers}


class Attacker:
    """One who does this and that at random, as it falls to a seed."""

    def __init__(self, mix: Mix, database: Database, seed: int) -> None:
        self._mix = mix
        self._world = mix.world
        self._ledger = Ledger(database)
        self._admitted = AdmittedRequests(database)
        self._dice = random.Random(seed)
        self._settling: list[UUID] = []

    async def go_on(self, *attacks: Callable[["Attacker"], Awaitable[None]], until: float) -> None:
        """Until then by the clock of the loop; errors are counted, since lock time-outs are none of its business."""
        while asyncio.get_running_loop().time() < until:
            attack = self._dice.choice(attacks)
            self._settling = []
            try:
                await attack(self)
                self._mix.done[attack.__name__] += 1
            except _OF_THE_LEDGER as error:
                self._mix.errors[f"{attack.__name__}: {type(error).__name__}: {error}"] += 1
                self._mix.held.extend(self._settling)
            except (asyncpg.PostgresError, GatewayError) as error:
                self._mix.errors[f"{attack.__name__}: {type(error).__name__}: {error} {error.__cause__}"] += 1
            await asyncio.sleep(0)

    def _someone(self) -> Principal:
        return self._dice.choice(self._mix.callers)

    def _some_day(self) -> datetime:
        return WINDOW + timedelta(days=self._dice.randrange(40))

    async def reserve(self) -> None:
        process_id = self._dice.choice(self._mix.processes)
        batch = []
        for caller in self._dice.choices(self._mix.callers, k=self._dice.randrange(1, 20)):
            tenant_version, key_version = self._mix.versions[caller.api_key_id]
            changes = {"day": self._some_day(), "tenant_version": tenant_version, "key_version": key_version}
            batch.append(request_of(caller, process_id, **changes))
        verdicts = await self._ledger.reserve(batch)
        self._mix.held += [
            each.id for each, verdict in zip(batch, verdicts, strict=True) if verdict.granted_tokens is not None
        ]

    async def settle(self) -> None:
        held = self._mix.held
        count = min(len(held), self._dice.randrange(1, 30))
        self._settling = list({held.pop(self._dice.randrange(len(held))) for _ in range(count)})
        await self._ledger.settle(
            [completed(each, 70 if end is Outcome.COMPLETED else 0, end) for each, end in self._ends().items()]
        )

    def _ends(self) -> dict[UUID, Outcome]:
        """What was refused was never forwarded; of the others some were."""
        ends = (Outcome.COMPLETED, Outcome.NOT_FORWARDED)
        return {
            each: Outcome.NOT_FORWARDED if each in self._mix.refused else self._dice.choice(ends)
            for each in self._settling
        }

    async def refuse(self) -> None:
        some = self._dice.sample(self._mix.held, k=min(len(self._mix.held), 4))
        self._mix.refused.update(some)
        events = [refusal_of(self._someone(), make_ask()) for _ in range(self._dice.randrange(1, 20))]
        if self._mix.collide:
            events += [refusal_of(self._someone(), make_ask(id=each)) for each in some]
        await self._ledger.refuse(events)

    async def abandon(self) -> None:
        await self._ledger.abandon(age=timedelta(seconds=60), most=self._dice.randrange(1, 40))

    async def rebuild(self) -> None:
        await self._admitted.fence_off(self._someone().tenant_id, since=datetime.now(UTC) - timedelta(seconds=61))

    async def die(self) -> None:
        new = await register(self._world)
        gone = self._mix.processes.pop(0)
        self._mix.processes.append(new)
        await self._world.sql(
            "update processes set heartbeat_at = heartbeat_at - interval '2 minutes' where id = $1", gone
        )

    async def adjust(self) -> None:
        caller = self._someone()
        key_id = self._dice.choice([None, caller.api_key_id])
        await self._world.sql(_ADJUST, uuid7(), uuid7(), caller.tenant_id, key_id, self._some_day(), WINDOW)

    async def change(self) -> None:
        """A tenant, its key, its limits, its budget in one transaction, as the command line does."""
        caller = self._someone()
        async with self._world.connection() as connection, connection.transaction():
            await connection.execute(_CAP, caller.tenant_id, self._dice.randrange(1, 9999))
            await connection.execute(_NAME, caller.api_key_id, str(self._dice.random()))
            await connection.execute(_LIMIT, caller.api_key_id, caller.tenant_id)
            await connection.execute(_BUDGET, caller.tenant_id, 10**12)

    async def reread(self) -> None:
        rows = await self._world.sql(_VERSIONS)
        self._mix.versions.update({row["id"]: (row["version"], row["key"]) for row in rows})

    async def drop(self) -> None:
        day = self._dice.randrange(3, 9)
        await self._world.sql("select audit_log_drop_day((now() at time zone 'UTC')::date - $1::integer, 3)", day)

    async def partitions(self) -> None:
        await self._world.sql("select audit_log_ensure_partitions((now() at time zone 'UTC')::date - 8, 16)")
