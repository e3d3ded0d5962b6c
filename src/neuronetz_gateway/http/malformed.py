"""The answer to what is no request, given by the connection itself."""

import structlog
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from neuronetz_gateway.domain.audit import PATH_CHARACTERS, printable
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.errors import MalformedRequestError
from neuronetz_gateway.http.request_id import name_request
from neuronetz_gateway.surfaces.catalog import surface_of

type Headers = list[tuple[bytes, bytes]]

_BROKEN = "neuronetz.broken"

_log = structlog.get_logger("access")


def refusal(error: MalformedRequestError, scope: Scope, target: bytes, headers: Headers) -> bytes:
    """The whole answer, in the words of the surface that the path belongs to, with its line in the log.

    `target` is as much of the request target as was understood; `headers` go with every answer of the server.
    """
    path = target.partition(b"?")[0].decode("latin-1")
    request_id = name_request(scope, uuid7)
    surface = surface_of(path)
    body = surface.error_body(error, request_id)
    fields = [
        *headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *surface.error_headers(error, request_id),
        *((name, request_id.encode("ascii")) for name in surface.request_id_headers),
        (b"connection", b"close"),
    ]
    _tell(error, scope, path, request_id)
    head = STATUS_LINE[error.status] + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"
    return head if scope["method"] == "HEAD" else head + body


def break_off(cycle: RequestResponseCycle, error: MalformedRequestError | None) -> None:
    """Tell the application, which waits for the rest of a body, that it is none: it is the one that answers."""
    scope: Scope = cycle.scope  # type: ignore[assignment]  # uvicorn's own type knows the keys of a plain request alone
    scope[_BROKEN] = error or MalformedRequestError("The chunks of the body are malformed.")
    cycle.message_event.set()


def check_unbroken(scope: Scope) -> None:
    """Raises MalformedRequestError: the body breaks off in what is no part of one."""
    error = scope.get(_BROKEN)
    if isinstance(error, MalformedRequestError):
        raise error


def _tell(error: MalformedRequestError, scope: Scope, path: str, request_id: str) -> None:
    """As AccessLog would: but who is a proxy is not known here, so that the peer is named instead of the caller."""
    peer = scope["client"]
    _log.info(
        "request",
        request_id=request_id,
        method=printable(scope["method"], 20),
        path=printable(path, PATH_CHARACTERS),
        status=error.status,
        reason=error.code,
        peer=peer[0] if peer else "",
    )
