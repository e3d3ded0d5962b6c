"""One line, one metric, one request id for every request, outermost of all."""

from collections.abc import Awaitable, Callable
from time import monotonic
from uuid import UUID

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neuronetz_gateway.domain.audit import PATH_CHARACTERS, Outcome, printable
from neuronetz_gateway.http.address import Networks, caller_address
from neuronetz_gateway.http.exchange import Exchange, find_exchange
from neuronetz_gateway.http.request_id import name_request
from neuronetz_gateway.http.trace_context import Trace, trace_of
from neuronetz_gateway.observability.logging import Tell
from neuronetz_gateway.observability.metrics import Metrics
from neuronetz_gateway.surfaces.catalog import surface_of

_LEFT = frozenset({0, 499})  # no status sent, or nginx's word for a caller who left
_log = structlog.get_logger("access")


class AccessLog:
    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, tell: Tell, new_id: Callable[[], UUID], trusted_proxies: Networks
    ) -> None:
        self.app, self.metrics, self.tell = app, metrics, tell
        self.new_id, self.trusted_proxies = new_id, trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = name_request(scope, self.new_id)
        value = request_id.encode("ascii")
        named = [(name, value) for name in surface_of(scope["path"]).request_id_headers]
        started, status = monotonic(), 0

        def named_send(message: Message) -> Awaitable[None]:  # no coroutine of its own: it comes by with every record
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *named]
            return send(message)

        self.metrics.opened()
        try:
            await self.app(scope, receive, named_send)
        except Exception:
            # The bug's own answer (500) is out by now, or the answer was begun: uvicorn then cuts the connection.
            _log.exception("defect", request_id=request_id)
            if status == 0:
                raise
        finally:
            self._close(scope, request_id, status, monotonic() - started)

    def _close(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        exchange = find_exchange(scope)
        if exchange is None:
            self.metrics.closed("other", status, "served" if status < 400 else "refused", seconds)  # noqa: PLR2004 - HTTP's own line
            # Probes of closed routes end here too: where they come from is what one wants to know.
            address = caller_address(scope, self.trusted_proxies)
            fields = _plain_fields(scope, request_id, status, seconds, trace_of(scope))
            fields["address"] = address
            self.tell(fields)
            return
        outcome = exchange.outcome or (Outcome.CALLER_LEFT if status in _LEFT else Outcome.FAILED)
        self.metrics.closed(exchange.endpoint.path, status, outcome.value, seconds)
        if outcome is Outcome.REFUSED:
            self.metrics.refused(exchange.reason)
        else:
            self._count_exchange(exchange)
        fields = _plain_fields(scope, request_id, status, seconds, exchange.trace)
        _add_exchange_fields(fields, exchange, outcome)
        self.tell(fields)

    def _count_exchange(self, exchange: Exchange) -> None:
        charge = exchange.charge
        self.metrics.charged(charge.prompt_tokens, charge.output_tokens, estimated=charge.estimated)
        reservation = exchange.known_reservation
        if reservation is not None and charge.prompt_tokens > reservation.prompt_bound_tokens:
            self.metrics.happened("prompt_over_bound")  # charged all the same; the bound was none (DESIGN §5)
        if exchange.first_byte_seconds is not None:
            self.metrics.answered(exchange.endpoint.path, exchange.first_byte_seconds)


def _plain_fields(scope: Scope, request_id: str, status: int, seconds: float, trace: Trace | None) -> dict[str, object]:
    fields: dict[str, object] = {
        "request_id": request_id,
        "method": printable(scope["method"], 20),
        "path": printable(scope["path"], PATH_CHARACTERS),
        "status": status,
        "ms": round(seconds * 100_000) / 100,
    }
    if trace is not None:
        fields["trace_id"] = trace.trace_id
    return fields


def _add_exchange_fields(fields: dict[str, object], exchange: Exchange, outcome: Outcome) -> None:
    principal, charge = exchange.known_principal, exchange.charge
    fields["id"], fields["outcome"], fields["address"] = exchange.id, outcome.value, exchange.address
    if exchange.reason:
        fields["reason"] = exchange.reason
    if principal is not None:
        fields["tenant"], fields["key"] = principal.tenant_name, principal.key_prefix
        fields["model"] = exchange.model
    if charge.total_tokens:
        fields["prompt_tokens"], fields["output_tokens"] = charge.prompt_tokens, charge.output_tokens
        if charge.estimated:
            fields["estimated"] = True
