"""A key is replaced under load: nobody is refused who changes over in time, the old key dies when it was said to."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from neuronetz_gateway.upstream.transport import OllamaTransport
from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fleet import fleet
from tests.support.forks import Zygote
from tests.support.gateways import make_settings, write_env_file
from tests.support.load import CHAT, Gateway
from tests.support.stores import Stores

DEAD_WITHIN_SECONDS = 1.0
PAUSE_SECONDS = 0.02


@dataclass(slots=True)
class Rotation:
    """What callers do with their key: some take the new one at a moment of their own, some keep the old one."""

    gateways: Sequence[Gateway]
    old_key: str
    new_key: str = ""
    changes_at: list[float] = field(default_factory=list)  # by time.time, one for each lane that changes
    until: float = float("inf")
    answers: list[tuple[bool, float, float, int]] = field(default_factory=list)  # old, sent, answered, status

    async def lane(self, number: int) -> None:
        async with httpx.AsyncClient(transport=OllamaTransport(), timeout=20) as http:
            turn = number
            while (now := time.time()) < self.until:
                old = not self.new_key or number >= len(self.changes_at) or now < self.changes_at[number]
                bearer = {"authorization": f"Bearer {self.old_key if old else self.new_key}"}
                turn += 1
                url = f"{self.gateways[turn % len(self.gateways)].base_url}/api/chat"
                answer = await http.post(url, json=CHAT, headers=bearer)
                self.answers.append((old, now, time.time(), answer.status_code))
                await asyncio.sleep(PAUSE_SECONDS)

    def statuses(self, *, old: bool) -> set[int]:
        return {status for was_old, _, _, status in self.answers if was_old is old}


@pytest.mark.promise("A6")
@pytest.mark.parametrize("lanes", [6, pytest.param(40, marks=pytest.mark.full)])
async def test_rotation_under_load_fails_nobody(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path, lanes: int
) -> None:
    overlap_seconds = 3.0
    tenancy = await make_tenancy(management)
    settings = make_settings(stores, ollama.base_url, auth_failures_per_minute=1_000_000)
    async with fleet(zygote, write_env_file(env_path, settings), 2) as gateways, asyncio.TaskGroup() as group:
        rotation = Rotation(gateways.members, tenancy.key)
        for number in range(lanes):
            group.create_task(rotation.lane(number))
        await asyncio.sleep(0.5)
        issued = await management.api_keys.rotate(
            tenancy.api_key.prefix, overlap_seconds=overlap_seconds, actor="tests"
        )
        [row] = await stores.fetch("select expires_at from api_keys where id = $1", tenancy.api_key.id)
        dies_at, dice = row["expires_at"].timestamp(), random.Random(20261123)
        first, last = time.time(), dies_at - DEAD_WITHIN_SECONDS
        rotation.changes_at = [dice.uniform(first, last) for _ in range(lanes * 2 // 3)]
        rotation.new_key = issued.plain.value
        rotation.until = dies_at + 1.5 * DEAD_WITHIN_SECONDS
    assert rotation.statuses(old=False) == {200}
    assert rotation.statuses(old=True) == {200, 401}
    refused_at = min(answered for old, _, answered, status in rotation.answers if old and status == 401)
    served_at = max(sent for old, sent, _, status in rotation.answers if old and status == 200)
    print(
        f"A6: {len(rotation.answers)} requests over two processes, 0 failed; the old key was last served "
        f"{(served_at - dies_at) * 1000:+.0f} ms, first refused {(refused_at - dies_at) * 1000:+.0f} ms from its end"
    )
    assert refused_at >= dies_at - DEAD_WITHIN_SECONDS
    assert served_at <= dies_at + DEAD_WITHIN_SECONDS
