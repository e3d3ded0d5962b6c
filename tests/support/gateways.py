"""Gateways to test: one in the test's own loop, others as processes of their own."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from neuronetz_gateway.app import create_app
from neuronetz_gateway.cli.draining import DrainingServer, DrainTimes, ServingConfig
from neuronetz_gateway.http.caller_connection import CallerConnection
from neuronetz_gateway.services.upkeep import Upkeep
from neuronetz_gateway.settings import Environment, Settings
from neuronetz_gateway.wiring import Services, build_services
from tests.support.forks import Fork, Zygote
from tests.support.no_tls import NO_TLS
from tests.support.stores import Stores

_AT_ONCE = DrainTimes(accept_seconds=0, total_seconds=5)
PEPPER = "0123456789abcdef0123456789abcdef-pepper-of-the-tests"
COMMAND = str(Path(sys.executable).with_name("neuronetz-gateway"))


def make_settings(stores: Stores, upstream_url: str, **changes: Any) -> Settings:
    """Settings of a test: cheap Argon2, no limits for new tenants unless it says so."""
    values: dict[str, Any] = {
        "environment": Environment.DEVELOPMENT,
        "database_url": stores.database_url,
        "redis_url": stores.redis_url,
        "ollama_base_url": upstream_url,
        "key_pepper": PEPPER,
        "argon2_memory_kib": 64,
        "argon2_time_cost": 1,
        "default_rpm": None,
        "default_tpm": None,
        "default_concurrent": None,
        "redis_timeout_s": 2,
        "database_statement_timeout_s": 10,
        "database_connect_timeout_s": 10,
        "ledger_timeout_s": 10,
        "drain_accept_s": 0,  # nobody in front of these has to turn away first
        "model_facts_refresh_s": 0,  # what the upstream saw is then what the requests caused, nothing else
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]  # an argument of pydantic-settings


@dataclass(frozen=True, slots=True)
class LiveGateway:
    """A gateway in the test's own loop; `server.handle_exit(signal, None)` begins its end, `ended` awaits it."""

    base_url: str
    services: Services
    server: DrainingServer
    serving: asyncio.Task[None]

    async def ended(self) -> None:
        await asyncio.shield(self.serving)

    def http(self, key: str | None = None, **options: Any) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(
            base_url=self.base_url, headers=headers, verify=NO_TLS, trust_env=False, timeout=30, **options
        )


@asynccontextmanager
async def live_gateway(
    stores: Stores,
    upstream_url: str,
    *,
    protocol: type[CallerConnection] = CallerConnection,
    build: Callable[[Settings], Services] = build_services,
    drain: DrainTimes = _AT_ONCE,
    upkeep: bool = False,
    **changes: Any,
) -> AsyncIterator[LiveGateway]:
    """A gateway on a free port, in the running loop; leaving it flushes everything.

    Upkeep of the audit log is left out unless asked for: it takes as much of the stores as a test's requests do.
    """
    settings = make_settings(stores, upstream_url, **changes)
    services = build(settings)
    if not upkeep:
        services = replace(services, chains=replace(services.chains, upkeep=Upkeep((), jitter=random.random)))
    config = ServingConfig(
        create_app(settings, services), host="127.0.0.1", port=0, http=protocol, lifespan="on",
        log_config=None, access_log=False, server_header=False, proxy_headers=False,
    )  # fmt: skip
    config.drain = drain
    server = DrainingServer(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        if serving.done():
            await serving
            raise RuntimeError("the gateway did not start")
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield LiveGateway(f"http://127.0.0.1:{port}", services, server, serving)
    finally:
        server.should_exit = True
        await serving


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_env_file(path: Path, settings: Settings, **extra: str) -> Path:
    """The settings of a test as an env file for a gateway process."""
    lines = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        lines.append(f"{name.upper()}={text}")
    lines += [f"{name}={value}" for name, value in extra.items()]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


@dataclass(slots=True)
class GatewayProcess:
    base_url: str
    process: asyncio.subprocess.Process | Fork
    log: Path

    def http(self, key: str | None = None, **options: Any) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(
            base_url=self.base_url, headers=headers, verify=NO_TLS, trust_env=False, timeout=30, **options
        )


@asynccontextmanager
async def gateway_process(
    env_file: Path, *arguments: str, command: tuple[str, ...] = (COMMAND,)
) -> AsyncIterator[GatewayProcess]:
    """`neuronetz-gateway serve` as its own process, ended by SIGTERM."""
    port, log = _port_and_log(env_file)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, *_serving(env_file, port), *arguments,
            stdout=out, stderr=out, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
    async with _ended(GatewayProcess(f"http://127.0.0.1:{port}", process, log)) as gateway:
        yield gateway


@asynccontextmanager
async def gateway_fork(zygote: Zygote, env_file: Path, *arguments: str) -> AsyncIterator[GatewayProcess]:
    """The same for one worker, in a fraction of the time: where not the start is what is looked at."""
    port, log = _port_and_log(env_file)
    with zygote.attached():
        process = await zygote.fork(
            *_serving(env_file, port), *arguments, log=log, environment={"PATH": os.environ["PATH"]}
        )
        async with _ended(GatewayProcess(f"http://127.0.0.1:{port}", process, log)) as gateway:
            yield gateway


def _port_and_log(env_file: Path) -> tuple[int, Path]:
    port = free_port()
    log = env_file.with_name(f"gateway-{port}.log")
    log.touch()
    return port, log


def _serving(env_file: Path, port: int) -> tuple[str, ...]:
    return "serve", "--env-file", str(env_file), "--port", str(port)


@asynccontextmanager
async def _ended(gateway: GatewayProcess) -> AsyncIterator[GatewayProcess]:
    try:
        await _until_healthy(gateway)
        yield gateway
    finally:
        if gateway.process.returncode is None:
            gateway.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(gateway.process.wait(), 30)


async def _until_healthy(gateway: GatewayProcess) -> None:
    async with asyncio.timeout(30), gateway.http() as http:
        while True:
            if gateway.process.returncode is not None:
                raise RuntimeError(f"the gateway did not start: {gateway.log.read_text()[-2000:]}")
            with contextlib.suppress(httpx.TransportError):
                if (await http.get("/healthz")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)
