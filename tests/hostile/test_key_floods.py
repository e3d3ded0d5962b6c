"""Floods of bad keys at a gateway process: whoever has a good one is served, whatever it costs the others."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.forks import Zygote
from tests.support.gateways import GatewayProcess, gateway_fork, make_settings, write_env_file
from tests.support.paced_callers import Plan, Told, paced_callers
from tests.support.process_figures import processor_seconds, resident_bytes
from tests.support.stores import Stores

MIB = 1024 * 1024
MOST_BYTES = 64 * MIB
ALLOWED_FAILURES = 60  # of an address, a minute
FLOODERS = tuple(f"198.51.100.{number}" for number in range(1, 51))
OWNERS = ("192.0.2.10", "192.0.2.11", FLOODERS[0], FLOODERS[1])  # good callers may share an address with bad ones
UNKNOWN = "nz_{n}" + "u" * 15  # well-formed, another one each time
# Argon2id as it is in production; principals, here as in Redis, expire every second
REAL = {"trusted_proxies": "127.0.0.1", "argon2_memory_kib": 19456, "argon2_time_cost": 2}
FORGETFUL = {**REAL, "key_memory_ttl_s": 0.5, "redis_key_cache_ttl_s": 1}


@dataclass(frozen=True, slots=True)
class Course:
    """What a flood did: to the good callers, to the memory of the gateway, by what means."""

    quiet: Told
    good: Told
    bad: Told
    grown_bytes: int
    processor_seconds: float

    def __str__(self) -> str:
        ratio = self.good.quantile(0.99) / self.quiet.quantile(0.99)
        return (
            f"\n  bad:   {self.bad}\n  good:  {self.good}\n  quiet: {self.quiet}\n"
            f"  p99 {ratio:.2f} times quiet; the gateway: {self.grown_bytes / MIB:+.1f} MiB, "
            f"{self.processor_seconds / self.bad.took_seconds:.0%} of a core"
        )

    def check(self) -> None:
        """Everybody with a good key was served, nobody with a bad one, in bounded memory."""
        for told in (self.quiet, self.good):
            assert set(told.statuses) == {200}, told
        assert set(self.bad.statuses) <= {401, 429}, self.bad
        assert self.bad.statuses[401] <= ALLOWED_FAILURES * len(FLOODERS) * (1 + int(self.bad.took_seconds / 60))
        for told in (self.quiet, self.good, self.bad):
            assert not told.lost, told
        assert not self.good.unsent
        assert self.grown_bytes <= MOST_BYTES


async def course_of(gateway: GatewayProcess, good: Plan, bad: Plan) -> Course:
    """The good callers alone for as long, then beside the bad ones."""
    async with paced_callers(replace(good, seconds=1)) as warming:
        await warming.ended()
    async with paced_callers(good) as alone:
        quiet = await alone.ended()
    before, used = resident_bytes(gateway.process.pid), processor_seconds(gateway.process.pid)
    async with AsyncExitStack() as running:
        flood = await running.enter_async_context(paced_callers(bad))
        served = await running.enter_async_context(paced_callers(good))
        most = await _most_resident(gateway.process.pid, bad.seconds)
        told = await served.ended(), await flood.ended()
        return Course(quiet, *told, most - before, processor_seconds(gateway.process.pid) - used)


async def _most_resident(pid: int, seconds: float) -> int:
    most = 0
    for _ in range(int(seconds * 4)):
        await asyncio.sleep(0.25)
        most = max(most, resident_bytes(pid))
    return most


def owners_of(gateway: GatewayProcess, tenancies: Sequence[Tenancy], seconds: float) -> Plan:
    """Twenty good requests a second."""
    return Plan(gateway.base_url, 20, seconds, tuple(each.key for each in tenancies), OWNERS, connections=20)


async def _unknown_keys(gateway: GatewayProcess, services: Services, ollama: FakeOllama, seconds: float) -> None:
    tenancies = [await make_tenancy(services) for _ in range(3)]
    good = owners_of(gateway, tenancies, seconds)
    course = await course_of(
        gateway, good, Plan(gateway.base_url, 1000, seconds, (UNKNOWN,), FLOODERS, connections=250)
    )
    print(f"A8, {seconds:g} s: {course}")
    course.check()
    served = course.quiet.sent + course.good.sent
    assert served <= len(ollama.hits) <= served + 100  # those of the warming, none of the flood


async def _wrong_secrets(gateway: GatewayProcess, services: Services, seconds: float) -> Course:
    """Half of the owner's requests come from the very addresses of the flood."""
    owner = await make_tenancy(services)
    wrong = owner.api_key.prefix + "{n}wrong0"
    assert len(wrong.replace("{n}", "0" * 26)) == len(owner.key)
    bad = Plan(gateway.base_url, 500, seconds, (wrong,), (*FLOODERS[:9], OWNERS[0]), connections=150)
    course = await course_of(gateway, owners_of(gateway, [owner], seconds), bad)
    course.check()
    return course


@pytest.mark.promise("A8")
async def test_a_thousand_unknown_keys_a_second_keep_nobody_from_being_served(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url, **REAL))
    async with gateway_fork(zygote, env_file) as gateway:
        await _unknown_keys(gateway, management, ollama, 1)


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.promise("A8")
@pytest.mark.timeout(300)
async def test_a_thousand_unknown_keys_a_second_for_a_minute(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url, **REAL))
    async with gateway_fork(zygote, env_file) as gateway:
        await _unknown_keys(gateway, management, ollama, 60)


@pytest.mark.promise("A9")
async def test_wrong_secrets_against_a_live_prefix_do_not_keep_its_owner_from_being_served(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url, **FORGETFUL))
    async with gateway_fork(zygote, env_file) as gateway:
        print(f"A9, 1 s: {await _wrong_secrets(gateway, management, 1)}")


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.promise("A9")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("settings", [REAL, FORGETFUL], ids=["cached", "expired"])
async def test_wrong_secrets_against_a_live_prefix_for_a_minute(
    zygote: Zygote,
    management: Services,
    stores: Stores,
    ollama: FakeOllama,
    env_path: Path,
    settings: dict[str, object],
) -> None:
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url, **settings))
    async with gateway_fork(zygote, env_file) as gateway:
        print(f"A9, a minute: {await _wrong_secrets(gateway, management, 60)}")
