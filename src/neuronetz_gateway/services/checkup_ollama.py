"""Checks the model server: whether it is there, has models, keeps to itself."""

import asyncio

from neuronetz_gateway.domain.checkup import CheckResult, broken, doubtful, fine
from neuronetz_gateway.settings import Settings
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.exposure import answering, is_here, outward_addresses
from neuronetz_gateway.upstream.opening import upstream_of
from neuronetz_gateway.upstream.probing import cloud_is_off, installed_models, told_version

_KNOCK_SECONDS = 1.0
_SHOWN_ADDRESSES = 3


async def check_ollama(settings: Settings) -> list[CheckResult]:
    """Raises UnavailableError where it does not answer."""
    upstream = upstream_of(settings)
    try:
        version = await told_version(upstream)
        return [
            fine("ollama", f"answers at {settings.ollama_base_url}, version {version[:40]}"),
            await _models(upstream),
            *await _cloud(upstream),
        ]
    finally:
        await upstream.aclose()


async def check_exposure(settings: Settings) -> list[CheckResult]:
    """Whether others can go round the gateway."""
    if not is_here(settings.ollama_base_url):
        return [
            doubtful(
                "ollama exposed",
                f"{settings.ollama_base_url} is not this machine's loopback: whoever reaches it needs no key",
                "let a firewall or a private network admit the gateway alone to that port",
            )
        ]
    addresses = await asyncio.to_thread(outward_addresses)
    open_at = await answering(settings.ollama_base_url, addresses, timeout_seconds=_KNOCK_SECONDS)
    if open_at:
        return [
            broken(
                "ollama exposed",
                f"it answers at {', '.join(open_at[:_SHOWN_ADDRESSES])} as well, without any key",
                "start it with OLLAMA_HOST=127.0.0.1, or close that port to others",
            )
        ]
    return [fine("ollama exposed", "no: only this machine reaches it")]


async def _models(upstream: Upstream) -> CheckResult:
    names = await installed_models(upstream)
    if not names:
        return doubtful("ollama models", "none is installed", "on its machine: ollama pull llama3.2:1b")
    return fine("ollama models", f"{len(names)} installed")


async def _cloud(upstream: Upstream) -> list[CheckResult]:
    off = await cloud_is_off(upstream)
    if off is None:
        return []
    if off:
        return [fine("ollama cloud", "off")]
    return [
        doubtful(
            "ollama cloud",
            "on; the gateway refuses cloud models, whoever is on that machine is not",
            "start Ollama with OLLAMA_NO_CLOUD=1",
        )
    ]
