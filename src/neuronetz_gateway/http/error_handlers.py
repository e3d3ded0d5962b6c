"""The one place where a refusal becomes a response."""

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from neuronetz_gateway.errors import EndpointBlockedError, EndpointNotFoundError, GatewayError, RequestTimeoutError
from neuronetz_gateway.http.exchange import find_exchange
from neuronetz_gateway.http.request_id import request_id_of
from neuronetz_gateway.surfaces.catalog import is_blocked, methods_of, nearest, surface_of


def render(scope: Scope, error: GatewayError) -> Response:
    """A refusal in the words of the surface that the path belongs to."""
    surface = surface_of(scope["path"])
    response = Response(
        surface.error_body(error, request_id_of(scope)), status_code=error.status, media_type="application/json"
    )
    response.raw_headers.extend(surface.error_headers(error, request_id_of(scope)))
    exchange = find_exchange(scope)
    if exchange is not None and exchange.standing is not None:
        response.raw_headers.extend(surface.limit_headers(exchange.standing))
    if isinstance(error, RequestTimeoutError):  # what is still to come of its body would come as slowly
        response.raw_headers.append((b"connection", b"close"))
    return response


async def on_http_exception(request: Request, error: Exception) -> Response:
    del error
    return render(request.scope, unmatched_error(request.scope))


async def on_bug(request: Request, _: Exception) -> Response:
    return render(request.scope, GatewayError("The gateway failed. The request was not completed."))


async def unmatched(scope: Scope, receive: Receive, send: Send) -> None:
    """Whatever is not literally in the endpoint table ends here: 403 for dangerous names, else 404 (DESIGN §3)."""
    if scope["type"] == "http":
        await render(scope, unmatched_error(scope))(scope, receive, send)


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


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, on_bug)
