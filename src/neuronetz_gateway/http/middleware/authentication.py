"""Step 2: who is calling."""

from collections.abc import Callable
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.domain.network import admits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import AddressForbiddenError, GatewayError, StalePrincipalError, UnavailableError
from neuronetz_gateway.http.exchange import Exchange, exchange_of
from neuronetz_gateway.services.authentication import Authenticator
from neuronetz_gateway.services.key_uses import KeyUseRecorder

# Changed settings may be met after a refusal, then a Redis that has to be told of the tenant, which makes it stale.
_WAYS = 3


class AuthenticationMiddleware:
    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, uses: KeyUseRecorder, new_id: Callable[[], UUID]
    ) -> None:
        self.app, self.authenticator, self.uses, self.new_id = app, authenticator, uses, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        presented = exchange.endpoint.surface.credential(scope["headers"])
        principal, looked = await self.authenticator.authenticate(presented, exchange.address), False
        for left in range(_WAYS - 1, -1, -1):
            exchange.principal = principal
            try:
                _check_address(principal, exchange.address)
                self.uses.used(principal.api_key_id, exchange.address)
                await self.app(scope, receive, send)
            except StalePrincipalError:
                # The ledger is the last word (DESIGN §3): nothing went up, the admission was undone on the way here.
                if not left:
                    raise
                exchange.standing = None
                principal = await self.authenticator.authenticate(presented, exchange.address, fresh=True)
            except GatewayError as refusal:
                if looked or not left or refusal.settings_seconds is None:
                    raise
                looked = True
                principal = await self._current(presented, exchange, refusal.settings_seconds)
                if principal == exchange.principal:
                    raise
            else:
                return
            # A new id, so that this further admission can never be mistaken for the undo of the one before.
            exchange.id, exchange.standing = self.new_id(), None

    async def _current(self, presented: str | None, exchange: Exchange, within_seconds: float) -> Principal:
        """The principal as it is now: where its settings refused, the ledger was never asked whether they still hold.

        Where that cannot be told, the refusal stands.
        """
        try:
            return await self.authenticator.authenticate_anew(
                presented, exchange.address, within_seconds=within_seconds
            )
        except UnavailableError:
            return exchange.principal


def _check_address(principal: Principal, address: str) -> None:
    if principal.allowed_networks is not None and not admits(principal.allowed_networks, address):
        raise AddressForbiddenError(address)
