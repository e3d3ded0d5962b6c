"""What the commands that ask the model server work with, open for as long as one of them runs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.services.management import Management
from neuronetz_gateway.settings import Settings
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.opening import upstream_of


@dataclass(frozen=True, slots=True)
class WithUpstream:
    """The model server beside what says who may use it."""

    managed: Management
    upstream: Upstream


@asynccontextmanager
async def management_with_upstream(settings: Settings) -> AsyncIterator[WithUpstream]:
    """Both; neither connects before it is asked something."""
    async with AsyncExitStack() as closing:
        managed = await closing.enter_async_context(management(settings))
        upstream = upstream_of(settings)
        closing.push_async_callback(upstream.aclose)
        yield WithUpstream(managed, upstream)
