"""Step 2: who is calling."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.domain.network import admits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import (
    AddressForbiddenError,
    GatewayError,
    StalePrincipalError,
    UnauthenticatedError,
    UnavailableError,
)
from neuronetz_gateway.http.exchange import Exchange, exchange_of
from neuronetz_gateway.services.authentication import Authenticator
from neuronetz_gateway.services.key_uses import KeyUseRecorder

# Changed settings may be met after a refusal, then a Redis that has to be told of the tenant, which makes it stale.
_WAYS = 3


class AuthenticationMiddleware:
    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        uses: KeyUseRecorder,
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
    ) -> None:
        self.app, self.authenticator, self.uses, self.new_id, self.now = app, authenticator, uses, new_id, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        presented = exchange.endpoint.surface.credential(scope["headers"])
        principal, looked = await self.authenticator.authenticate(presented, exchange.address), False
        for left in range(_WAYS - 1, -1, -1):
            exchange.principal = principal
            try:
                self._check_address(principal, exchange.address)
                await self._used(exchange, scope, receive, send)
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

    async def _used(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        """The rest of the chain, whose end is the key's last use, unless it finds that the key is dead by now."""
        try:
            await self.app(scope, receive, send)
        except (StalePrincipalError, UnauthenticatedError):
            raise
        except BaseException:
            self.uses.used(exchange.principal.api_key_id, exchange.address)
            raise
        self.uses.used(exchange.principal.api_key_id, exchange.address)

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

    def _check_address(self, principal: Principal, address: str) -> None:
        networks = principal.allowed_networks
        if networks is None or admits(networks, address):
            return
        if principal.expires_at is not None and principal.expires_at <= self.now():
            raise UnauthenticatedError  # one answer for every dead key (A3), from wherever it comes
        raise AddressForbiddenError(address)
