"""What callers see of a gateway that is ending."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.errors import ShuttingDownError
from neuronetz_gateway.services.rate_limiting import RateLimiter


@runtime_checkable
class Drainable(Protocol):
    """What a server asks of the application that it serves, when it is told to end (DESIGN §7)."""

    def stop(self) -> None:
        """No longer ready, from now on; whoever asks all the same is served."""

    def cut(self) -> None:
        """End whatever is still being answered, each in the words of its surface; may be repeated."""


class Drain:
    """Whether this process is ending, or has to end whatever still runs."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self.stopping = False
        self.cutting = False

    def cut(self) -> None:
        """Cut all that hold a place; who has none yet is told so when the server cancels it (EndpointTable)."""
        self.cutting = True
        self._limiter.cut(lambda _: True, shutting_down)


class Gateway:
    """The whole gateway as one ASGI application that can be told to end.

    `metrics_page` is what a listener of its own is to serve; None where the gateway itself has the page, or nobody.
    `count_refusal` counts, by its reason, what the server refuses before it comes here.
    """

    def __init__(
        self, app: ASGIApp, drain: Drain, count_refusal: Callable[[str], None], metrics_page: ASGIApp | None = None
    ) -> None:
        self._app, self._drain, self.count_refusal, self.metrics_page = app, drain, count_refusal, metrics_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def stop(self) -> None:
        self._drain.stopping = True

    def cut(self) -> None:
        self._drain.cut()


def shutting_down() -> ShuttingDownError:
    return ShuttingDownError("The gateway is shutting down.")
