"""What is not literally in the endpoint table: refused, counted by where it came from."""

from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from neuronetz_gateway.domain.audit import PATH_CHARACTERS, RefusalEvent, printable
from neuronetz_gateway.errors import EndpointBlockedError, EndpointNotFoundError, GatewayError
from neuronetz_gateway.http.address import Networks, caller_address
from neuronetz_gateway.http.error_handlers import render
from neuronetz_gateway.http.request_id import id_of, request_id_of, user_agent_of
from neuronetz_gateway.services.refusal_recording import RefusalRecorder
from neuronetz_gateway.surfaces.catalog import is_blocked, methods_of, nearest


class Unmatched:
    """403 for dangerous names, else 404, for everybody, before anybody is authenticated (DESIGN §3)."""

    def __init__(
        self,
        *,
        refusals: RefusalRecorder,
        trusted_proxies: Networks,
        now: Callable[[], datetime],
    ) -> None:
        self.refusals, self.trusted_proxies, self.now = refusals, trusted_proxies, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._refusal(scope)(scope, receive, send)

    async def on_http_exception(self, request: Request, error: Exception) -> Response:
        """The framework's own no, for another method on one of the open pages."""
        del error
        return self._refusal(request.scope)

    def _refusal(self, scope: Scope) -> Response:
        error = unmatched_error(scope)
        self.refusals.record(
            RefusalEvent(
                id=id_of(scope),
                tenant_id=None,
                api_key_id=None,
                endpoint=printable(scope["path"], PATH_CHARACTERS),
                model="",
                request_id=request_id_of(scope),
                address=caller_address(scope, self.trusted_proxies),
                user_agent=user_agent_of(scope),
                status=error.status,
                reason=error.code,
                refused_at=self.now(),
            )
        )
        return render(scope, error)


def unmatched_error(scope: Scope) -> GatewayError:
    path = scope["path"]
    if is_blocked(scope.get("raw_path") or path.encode("utf-8", "surrogateescape")):
        return EndpointBlockedError("This endpoint is blocked by the gateway, for everybody.")
    methods = methods_of(path)
    if methods and scope["method"] not in methods:
        return EndpointNotFoundError(f"This path takes {' or '.join(methods)}, not {scope['method'][:10]}.")
    meant = nearest(path)
    mend = "" if meant is None else f" Did you mean '{meant}'?"
    return EndpointNotFoundError(f"There is no such endpoint here.{mend}")
