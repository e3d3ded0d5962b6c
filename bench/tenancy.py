"""Tenants with their keys, made in this process by the services of the gateway."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.cases import MANY_TENANTS, Case, Keys
from bench.gateway import Gateway
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.services.management import Management

# Every control is on, none of them refuses.
LIMITS = {"rpm": 100_000_000, "tpm": 1_000_000_000_000, "concurrent": 100_000}
BUDGET: dict[Period, int | None] = {Period.DAILY: 1_000_000_000_000, Period.MONTHLY: 30_000_000_000_000}
SPENT_KEYS = 32
_AT_ONCE = 4
# more of them than 64 connections can be told 401 a second: each is told 20 ms later or more
_UNKNOWN_A_SECOND = 4_000


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys by whose they are; none of them shows in a repr."""

    made: dict[Keys, Sequence[str]] = field(repr=False)

    def for_round(self, case: Case, number: int, seconds: float) -> Sequence[str]:
        """What a round's requests present in turn: another spent key a round, else its minute might be over."""
        if case.keys is Keys.UNKNOWN:
            rolled = random.Random()
            return [PlainKey.issue(rolled.choice).value for _ in range(int(_UNKNOWN_A_SECOND * max(1, seconds)))]
        kept = self.made.get(case.keys, ())
        return [kept[number % len(kept)]] if case.keys is Keys.SPENT else kept


def prepare(gateway: Gateway, wanted: Iterable[Keys]) -> KeyRing:
    """Raise the limits of the gateway's own tenant, make the keys that the cases want."""
    kinds = set(wanted)

    async def work(managed: Management) -> KeyRing:
        await _raise_limits(managed, gateway.tenant)
        made: dict[Keys, Sequence[str]] = {}
        if Keys.SPENT in kinds:
            made[Keys.SPENT] = [await _spent_key(managed, gateway.tenant, number) for number in range(SPENT_KEYS)]
        if Keys.MANY in kinds:
            made[Keys.MANY] = await make_tenants(managed, MANY_TENANTS)
        return KeyRing(made)

    return run(management, work, gateway.env_file)


async def make_tenants(managed: Management, count: int) -> list[str]:
    """One key each of so many new tenants."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> str:
        async with room:
            name = f"bench-{number}"
            await managed.tenants.create(name, allow_all_models=True)
            await _raise_limits(managed, name)
            return (await managed.api_keys.issue(name, "bench")).plain.value

    return await asyncio.gather(*(one(number) for number in range(count)))


async def _raise_limits(managed: Management, tenant: str) -> None:
    await managed.tenants.set_limits(tenant, LIMITS)
    await managed.budgets.set_for_tenant(tenant, BUDGET)


async def _spent_key(managed: Management, tenant: str, number: int) -> str:
    issued = await managed.api_keys.issue(tenant, f"one-a-minute-{number}", limits=Limits(rpm=1))
    return issued.plain.value
