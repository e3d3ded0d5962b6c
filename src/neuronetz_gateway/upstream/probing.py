"""Asks a model server small questions whose failures are told in the gateway's own words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from neuronetz_gateway.errors import UpstreamUnreachableError
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.transport import OllamaTransport


@asynccontextmanager
async def probe(base_url: str, *, timeout_seconds: float) -> AsyncIterator[Upstream]:
    """An upstream for a few questions, closed at the end; raises UpstreamUnreachableError for what is no address."""
    try:
        upstream = Upstream(OllamaTransport(), base_url, probe_timeout_seconds=timeout_seconds)
    except (ValueError, httpx.InvalidURL):
        raise UpstreamUnreachableError(
            "The upstream must be a plain address such as http://127.0.0.1:11434, without account or query."
        ) from None
    try:
        yield upstream
    finally:
        await upstream.aclose()


async def answers(upstream: Upstream) -> bool:
    """Whether the model server says its version within the upstream's probe time-out."""
    try:
        await upstream.version()
    except httpx.HTTPError:
        return False
    return True


async def told_version(upstream: Upstream) -> str:
    """The version of the model server; raises UpstreamUnreachableError when it does not say so in time."""
    try:
        return await upstream.version()
    except httpx.HTTPError as error:
        raise UpstreamUnreachableError("No model server answers there.") from error


async def cloud_is_off(upstream: Upstream) -> bool | None:
    """Whether it sends nothing to ollama.com, None where it does not say; raises UpstreamUnreachableError."""
    try:
        return await upstream.cloud_is_off()
    except httpx.HTTPError as error:
        raise UpstreamUnreachableError("The model server does not tell of its cloud.") from error


async def installed_models(upstream: Upstream) -> list[str]:
    """The names of the models that the model server has; raises UpstreamUnreachableError when it does not say them."""
    try:
        return await upstream.models()
    except httpx.HTTPError as error:
        raise UpstreamUnreachableError("The model server does not answer; is Ollama running?") from error


async def listed_models(upstream: Upstream) -> list[Any]:
    """The entries of /api/tags as they come; raises UpstreamUnreachableError when they cannot be had in time."""
    try:
        return await upstream.tags()
    except httpx.HTTPError as error:
        raise UpstreamUnreachableError("The model server does not list its models.") from error


async def shown_model(upstream: Upstream, model: str) -> dict[str, Any]:
    """The answer of /api/show; raises UpstreamUnreachableError when it cannot be had in time."""
    try:
        return await upstream.show(model)
    except httpx.HTTPError as error:
        raise UpstreamUnreachableError("The model server does not tell of its model.") from error
