"""Which trace a request belongs to, by the headers of W3C Trace Context (level 1, with the random flag of level 2)."""

import re
from dataclasses import dataclass
from uuid import UUID

from starlette.types import Scope

type Fields = list[tuple[bytes, bytes]]

# §3.2.2: version, trace-id, parent-id, flags; only a version to come may have more behind them.
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]{0,200})?")
# §3.3.1.3: what a system may put into its own member of the list.
_MEMBER = re.compile(
    rb"(?P<key>[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_KNOWN_VERSION = b"00"
_NO_VERSION = b"ff"
_FLAGS = 0b11  # sampled, random trace-id; the others are to be sent as zero
_MAX_STATE_BYTES = 512  # §3.3.1.5: as many as everybody should pass on
_MAX_MEMBERS = 32
_KEY = b"nz_"  # how an API key begins, which has no business there


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace that a caller has begun; state is its `tracestate`, empty for none."""

    trace_id: str
    flags: int
    state: bytes

    def fields(self, request: UUID) -> Fields:
        """What goes up: the same trace, with this request as the new parent (§3.4).

        The id of its span is the second half of the request's own id, 62 bits of which are random and two are not zero:
        so whoever has the span finds the request in log and audit.
        """
        span = f"00-{self.trace_id}-{request.hex[16:]}-{self.flags:02x}"
        fields = [(b"traceparent", span.encode("ascii"))]
        return [*fields, (b"tracestate", self.state)] if self.state else fields


def trace_of(scope: Scope) -> Trace | None:
    """The trace of a request; None where its caller names none, or not as the standard has it: then it is ignored."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    if not given:
        return None
    found = _PARENT.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == _NO_VERSION or (version == _KNOWN_VERSION and more is not None):
        return None
    if not trace_id.strip(b"0") or not parent_id.strip(b"0"):
        return None
    return Trace(trace_id.decode("ascii"), int(flags, 16) & _FLAGS, _state(scope))


def _state(scope: Scope) -> bytes:
    """`tracestate` as one line, empty where any of it is malformed, doubled or longer than must be passed on."""
    given = b",".join(value for name, value in scope["headers"] if name == b"tracestate")
    if not given or len(given) > _MAX_STATE_BYTES or _KEY in given:
        return b""
    members = [member for piece in given.split(b",") if (member := piece.strip(b" \t"))]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {each["key"] for each in found if each is not None}
    return b",".join(members) if len(keys) == len(members) <= _MAX_MEMBERS else b""
