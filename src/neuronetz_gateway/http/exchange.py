"""One request on its way through the chain."""

from collections.abc import Callable
from dataclasses import dataclass, field
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
from neuronetz_gateway.surfaces.surface import Call, Endpoint

_KEY = "neuronetz.exchange"


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
    read_under: KeyPolicy | None = None
    body_head: bytes = field(default=b"", repr=False)
    body_bytes: int = 0
    body_share: BodyShare | None = None
    adjusted: tuple[str, ...] = ()
    record_end: Callable[[], bytes] = bytes
    _principal: Principal | None = None
    _call: Call | None = None
    _admission: Admission | None = None
    _reservation: Reservation | None = None

    @property
    def known_principal(self) -> Principal | None:
        return self._principal

    @property
    def known_call(self) -> Call | None:
        return self._call

    @property
    def known_reservation(self) -> Reservation | None:
        return self._reservation

    @property
    def model(self) -> str:
        return self._call.model if self._call else ""

    @property
    def principal(self) -> Principal:
        return _required(self._principal, "principal")

    @principal.setter
    def principal(self, principal: Principal) -> None:
        self._principal = principal

    @property
    def call(self) -> Call:
        return _required(self._call, "call")

    @call.setter
    def call(self, call: Call) -> None:
        self._call = call

    @property
    def admission(self) -> Admission:
        return _required(self._admission, "admission")

    @admission.setter
    def admission(self, admission: Admission) -> None:
        self._admission = admission

    @property
    def reservation(self) -> Reservation:
        return _required(self._reservation, "reservation")

    @reservation.setter
    def reservation(self, reservation: Reservation) -> None:
        self._reservation = reservation
        self.body = b""

    def end(self) -> None:
        """Nothing more comes of it: what it held is let go, with whoever holds it in turn."""
        self.let_body_go()
        self.record_end = bytes

    def let_body_go(self) -> None:
        """From here on nobody asks what stood in the body: it has been answered, or never will be."""
        self.body = b""
        if self._call is not None and self._call.body:
            self._call = self._call._replace(body={})
        if self.body_share is not None:
            self.body_share.release()


def _required[T](value: T | None, name: str) -> T:
    if value is None:
        raise RuntimeError(f"the exchange has no {name} yet: a step stands in the wrong place of the chain")
    return value


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
