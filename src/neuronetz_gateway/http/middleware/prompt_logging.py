"""Step 6, for keys that were told so: the prompt kept, sealed."""

from collections.abc import Awaitable
from datetime import timedelta

from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.domain.prompt import PromptRecord
from neuronetz_gateway.http.exchange import Exchange, exchange_of
from neuronetz_gateway.services.prompt_logging import PromptLog


class PromptLoggingMiddleware:
    """Behind the reservation, so that a prompt stands beside the audit row of its request."""

    def __init__(self, app: ASGIApp, *, prompts: PromptLog) -> None:
        self.app, self.prompts = app, prompts

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        exchange = exchange_of(scope)
        seconds = exchange.principal.prompt_log_seconds
        if seconds is not None and exchange.body_head:
            self.prompts.keep(record_of(exchange, seconds), exchange.body_head)
            exchange.body_head = b""
        return self.app(scope, receive, send)


def record_of(exchange: Exchange, seconds: int) -> PromptRecord:
    admitted_at = exchange.admission.admitted_at
    return PromptRecord(
        id=exchange.id,
        tenant_id=exchange.principal.tenant_id,
        api_key_id=exchange.principal.api_key_id,
        model=exchange.model,
        endpoint=exchange.endpoint.path,
        request_id=exchange.request_id,
        admitted_at=admitted_at,
        expires_at=admitted_at + timedelta(seconds=seconds),
        prompt_bytes=exchange.body_bytes,
    )
