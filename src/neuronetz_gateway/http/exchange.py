"""One request on its way through the chain."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Never
from uuid import UUID

from starlette.types import Scope

from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.budget import Reservation
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.request_policy import KeyPolicy
from neuronetz_gateway.domain.standing import Standing
from neuronetz_gateway.domain.usage import NOTHING, Charge, MeterReading
from neuronetz_gateway.http.body_room import BodyShare
from neuronetz_gateway.http.trace_context import Trace
from neuronetz_gateway.surfaces.surface import Call, Endpoint

_KEY = "neuronetz.exchange"
_STEPS = frozenset({"principal", "call", "admission", "reservation"})


@dataclass(slots=True)
class Exchange:
    """What each step learned about a request, filled in chain order.

    body is what came, until the request is reserved: a changed policy may have it read once more; read_under is the
    policy of the key under which it was. body_head is its beginning, where the key has its prompts logged; body_bytes
    is its length, body_share what it holds of the room for all of them. adjusted is what of it went up in another way.
    record_end gives whatever an error event needs before it to stand in a record of its own, at any moment.

    A step that asks for what an earlier one has not set gets a RuntimeError: a wrongly ordered chain answers
    500, never 200.
    """

    id: UUID
    request_id: str
    endpoint: Endpoint
    address: str
    user_agent: str
    started_at: float
    trace: Trace | None = None
    status: int = 0
    response_started: bool = False
    first_byte_seconds: float | None = None
    outcome: Outcome | None = None
    reason: str = ""
    reading: MeterReading = field(default_factory=MeterReading)
    charge: Charge = NOTHING
    forwarded: bool = False
    output_wanted_tokens: int = 0
    standing: Standing | None = None
    body: bytes = field(default=b"", repr=False)
    was_read: bool = False
    read_under: KeyPolicy | None = None
    body_head: bytes = field(default=b"", repr=False)
    body_bytes: int = 0
    body_share: BodyShare | None = None
    adjusted: tuple[str, ...] = ()
    record_end: Callable[[], bytes] = bytes
    principal: Principal = field(init=False, repr=False, compare=False)
    call: Call = field(init=False, repr=False, compare=False)
    admission: Admission = field(init=False, repr=False, compare=False)
    reservation: Reservation = field(init=False, repr=False, compare=False)

    def __getattr__(self, name: str) -> Never:
        """For whatever has not been set: what is there never comes here, so that asking for it costs nothing."""
        if name not in _STEPS:
            raise AttributeError(name)
        raise RuntimeError(f"the exchange has no {name} yet: a step stands in the wrong place of the chain")

    @property
    def known_principal(self) -> Principal | None:
        try:
            return self.principal
        except RuntimeError:
            return None

    @property
    def known_call(self) -> Call | None:
        try:
            return self.call
        except RuntimeError:
            return None

    @property
    def known_reservation(self) -> Reservation | None:
        try:
            return self.reservation
        except RuntimeError:
            return None

    @property
    def model(self) -> str:
        call = self.known_call
        return call.model if call is not None else ""

    def end(self) -> None:
        """Nothing more comes of it: what it held is let go, with whoever holds it in turn."""
        self.let_body_go()
        self.record_end = bytes

    def let_body_go(self) -> None:
        """From here on nobody asks what stood in the body: it has been answered, or never will be."""
        self.body = b""
        call = self.known_call
        if call is not None and call.body:
            call.body.clear()
        if self.body_share is not None:
            self.body_share.release()


def attach(scope: Scope, exchange: Exchange) -> None:
    scope[_KEY] = exchange


def exchange_of(scope: Scope) -> Exchange:
    exchange = scope[_KEY]
    if not isinstance(exchange, Exchange):
        raise TypeError("the scope holds no exchange: the opening step must come first")
    return exchange


def find_exchange(scope: Scope) -> Exchange | None:
    exchange = scope.get(_KEY)
    return exchange if isinstance(exchange, Exchange) else None
