"""Step 1: the exchange of a request, opened here, with its refusal recorded."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.domain.audit import Outcome, RefusalEvent
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.http.address import Networks, caller_address
from neuronetz_gateway.http.draining import Drain, shutting_down
from neuronetz_gateway.http.exchange import Exchange, attach
from neuronetz_gateway.http.request_id import id_of, request_id_of, user_agent_of
from neuronetz_gateway.http.trace_context import trace_of
from neuronetz_gateway.services.refusal_recording import RefusalRecorder
from neuronetz_gateway.surfaces.surface import Endpoint


class OpeningMiddleware:
    def __init__(
        self,
        app: ASGIApp,
        *,
        endpoint: Endpoint,
        refusals: RefusalRecorder,
        drain: Drain,
        trusted_proxies: Networks,
        now: Callable[[], datetime],
    ) -> None:
        self.app, self.endpoint, self.refusals, self.drain = app, endpoint, refusals, drain
        self.trusted_proxies, self.now = trusted_proxies, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(
            id=id_of(scope),
            request_id=request_id_of(scope),
            endpoint=self.endpoint,
            address=caller_address(scope, self.trusted_proxies),
            user_agent=user_agent_of(scope),
            started_at=monotonic(),
            trace=trace_of(scope),
        )
        attach(scope, exchange)
        try:
            await self.app(scope, receive, send)
        except GatewayError as error:
            self._record(exchange, error)
            raise
        except asyncio.CancelledError:
            # Only the server cancels, at the end of its drain; what had begun is closed by it, unfinished.
            if not self.drain.cutting or exchange.response_started:
                raise
            ended = shutting_down()
            self._record(exchange, ended)
            raise ended from None
        finally:
            exchange.end()

    def _record(self, exchange: Exchange, error: GatewayError) -> None:
        """One audit row a refusal, or a share of one; what held a reservation has its row from the settlement."""
        exchange.status, exchange.reason = error.status, getattr(error, "limit", error.code)
        if exchange.known_reservation is not None:
            return
        exchange.outcome = Outcome.REFUSED
        principal = exchange.known_principal
        self.refusals.record(
            RefusalEvent(
                id=exchange.id,
                tenant_id=None if principal is None else principal.tenant_id,
                api_key_id=None if principal is None else principal.api_key_id,
                endpoint=exchange.endpoint.path,
                model=exchange.model,
                request_id=exchange.request_id,
                address=exchange.address,
                user_agent=exchange.user_agent,
                status=error.status,
                reason=exchange.reason,
                refused_at=self.now(),
            ),
            alone=error.in_doubt,
        )
