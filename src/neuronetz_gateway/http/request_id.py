"""What log and audit say of a request by its headers: its name, the program that sent it."""

import re
from collections.abc import Callable
from uuid import UUID

from starlette.types import Scope

from neuronetz_gateway.domain.audit import USER_AGENT_CHARACTERS, printable

_KEY, _ID = "neuronetz.request_id", "neuronetz.id"
_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def name_request(scope: Scope, new_id: Callable[[], UUID]) -> str:
    """The caller's own X-Request-ID where it is short and plain, else the id of its row in the audit log; kept in the
    scope, as that id is.
    """
    scope[_ID] = made = new_id()
    scope[_KEY] = request_id = _given(scope) or made.hex
    return request_id


def request_id_of(scope: Scope) -> str:
    request_id = scope[_KEY]
    if not isinstance(request_id, str):
        raise TypeError("the request has no id: the access log must stand outermost")
    return request_id


def id_of(scope: Scope) -> UUID:
    """What its row in the audit log is called, unless it has to go through the chain once more."""
    made = scope[_ID]
    if not isinstance(made, UUID):
        raise TypeError("the request has no id: the access log must stand outermost")
    return made


def _given(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ACCEPTED.fullmatch(value):
            text = bytes(value).decode("ascii")
            return text if printable(text, len(text)) == text else None  # a key is no name for a request
    return None


def user_agent_of(scope: Scope) -> str:
    """What the caller's program says that it is, made safe to log."""
    for name, value in scope["headers"]:
        if name == b"user-agent":
            return printable(value.decode("latin-1"), USER_AGENT_CHARACTERS)
    return ""
