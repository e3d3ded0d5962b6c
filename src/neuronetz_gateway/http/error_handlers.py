"""The one place where a refusal becomes a response."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from neuronetz_gateway.errors import GatewayError, RequestTimeoutError
from neuronetz_gateway.http.exchange import find_exchange
from neuronetz_gateway.http.request_id import request_id_of
from neuronetz_gateway.surfaces.catalog import surface_of

type Handler = Callable[[Request, Exception], Awaitable[Response]]


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


async def on_bug(request: Request, _: Exception) -> Response:
    return render(request.scope, GatewayError("The gateway failed. The request was not completed."))


def add_error_handlers(app: FastAPI, on_http_exception: Handler) -> None:
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, on_bug)
