"""Step 2: who is calling."""

from collections.abc import Callable
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.errors import StalePrincipalError
from neuronetz_gateway.http.exchange import exchange_of
from neuronetz_gateway.services.authentication import Authenticator


class AuthenticationMiddleware:
    def __init__(self, app: ASGIApp, *, authenticator: Authenticator, new_id: Callable[[], UUID]) -> None:
        self.app, self.authenticator, self.new_id = app, authenticator, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        presented = exchange.endpoint.surface.credential(scope["headers"])
        exchange.principal = await self.authenticator.authenticate(presented, exchange.address)
        try:
            await self.app(scope, receive, send)
        except StalePrincipalError:
            # The ledger is the last word (DESIGN §3): nothing went up, the admission was undone on the way here.
            # A new id, so that this second admission can never be mistaken for the first one's undo.
            exchange.id = self.new_id()
            exchange.principal = await self.authenticator.authenticate(presented, exchange.address, fresh=True)
            await self.app(scope, receive, send)
