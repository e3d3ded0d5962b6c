"""Callers who hold connections by the thousand, with the gateway's own settings, at its own port."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import GatewayProcess, gateway_process, make_settings, write_env_file
from tests.support.load import CHAT
from tests.support.slow_callers import Held, hold, slow_ways
from tests.support.stores import Stores

SLACK_SECONDS = 3.0  # of a shared machine
EACH = 125  # connections in each of eight ways
MODES = {"slow headers": "-H", "slow body": "-B", "range": "-R", "slow read": "-X"}


class Good:
    """Somebody who asks something every 50 ms, on a connection of his own now and then."""

    def __init__(self, gateway: GatewayProcess, key: str) -> None:
        self._gateway, self._key = gateway, key
        self._enough = asyncio.Event()
        self.seen: Counter[object] = Counter()
        self.longest_seconds = 0.0

    def stop(self) -> None:
        """Asks nothing more; what was asked is answered still, so that its hits can be counted."""
        self._enough.set()

    async def ask_on(self) -> None:
        while not self._enough.is_set():
            async with self._gateway.http(self._key) as http:
                for _ in range(10):
                    began = time.monotonic()
                    self.seen[(await http.post("/api/chat", json=CHAT)).status_code] += 1
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                    await asyncio.sleep(0.05)


@asynccontextmanager
async def asking(gateway: GatewayProcess, key: str) -> AsyncIterator[Good]:
    good = Good(gateway, key)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(good.ask_on())
        try:
            yield good
        finally:
            good.stop()


def resident_mib(gateway: GatewayProcess) -> float:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


@pytest.mark.full
@pytest.mark.promise("O3")
@pytest.mark.timeout(240)
async def test_whoever_holds_a_connection_is_cut_in_time_and_nobody_else_notices(
    management: Services, stores: Stores, ollama: FakeOllama, tmp_path: Path
) -> None:
    tenancy = await make_tenancy(management)
    env_file = write_env_file(tmp_path / "gateway.env", make_settings(stores, ollama.base_url))
    chosen = list(slow_ways(tenancy.key))
    async with gateway_process(env_file) as gateway, asking(gateway, tenancy.key) as good:
        before = resident_mib(gateway)
        held: dict[str, list[Held]] = {}

        async def attack(name: str, number: int) -> None:
            way = chosen[number]
            held[name] = await asyncio.gather(*(hold(gateway.base_url, way) for _ in range(EACH)))

        async with asyncio.TaskGroup() as group:
            for number, way in enumerate(chosen):
                group.create_task(attack(way.name, number))
        after = resident_mib(gateway)
    for way in chosen:
        seconds = [one.seconds for one in held[way.name]]
        print(f"O3: {EACH} x {way.name}: cut after {min(seconds):.1f} to {max(seconds):.1f} s")
        assert max(seconds) <= way.allowed_seconds + SLACK_SECONDS, way.name
    print(f"O3: others {dict(good.seen)}, longest {good.longest_seconds:.2f} s; memory {before:.0f} to {after:.0f} MiB")
    assert set(good.seen) == {200}
    assert good.seen[200] >= 50  # the figure: nobody would notice a standstill otherwise
    assert len(ollama.hits) == good.seen[200]


@pytest.mark.full
@pytest.mark.promise("O3")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", MODES)
async def test_slowhttptest_takes_nothing_from_others(
    management: Services, stores: Stores, ollama: FakeOllama, tmp_path: Path, mode: str
) -> None:
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.skip("slowhttptest is not installed (a package of Debian)")
    tenancy = await make_tenancy(management)
    env_file = write_env_file(tmp_path / "gateway.env", make_settings(stores, ollama.base_url))
    async with gateway_process(env_file) as gateway, asking(gateway, tenancy.key) as good:
        attack = await asyncio.create_subprocess_exec(
            program, MODES[mode], "-c", "1000", "-r", "250", "-i", "5", "-l", "40", "-p", "3",
            "-t", "POST", "-u", f"{gateway.base_url}/api/chat",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(attack.communicate(), 120)
        assert attack.returncode == 0, said[-2000:]
        after = resident_mib(gateway)
    text = said.decode(errors="replace")
    print(f"O3: {mode}: others {dict(good.seen)}, longest {good.longest_seconds:.2f} s, {after:.0f} MiB")
    assert "service available:   NO" not in text.replace("\x1b[1;31m", "")
    assert set(good.seen) == {200}
    assert len(ollama.hits) == good.seen[200]
