"""The router: what is not literally in the endpoint table cannot be reached."""

from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.http.error_handlers import render
from neuronetz_gateway.http.exchange import find_exchange
from neuronetz_gateway.surfaces.model_paths import model_in

type Row = tuple[str, bytes]


class EndpointTable:
    """Finds the chain of a method on a literal path, byte by byte as it came; everything else goes elsewhere.

    Frameworks match decoded paths and add HEAD to GET; here neither may happen (OLLAMA §2). One look-up in a dictionary
    replaces a framework's stack of five middlewares and a walk over routes (a tenth of a request, docs/decisions/0001).
    """

    def __init__(self, chains: Mapping[Row, ASGIApp], named: Mapping[Row, ASGIApp], elsewhere: ASGIApp) -> None:
        """`named` has the chains of paths that end with a model's name, by what stands before it."""
        self.chains, self.named, self.elsewhere = dict(chains), dict(named), elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chain = self._chain(scope) if scope["type"] == "http" else None
        if chain is None:
            await self.elsewhere(scope, receive, send)
            return
        try:
            await chain(scope, receive, send)
        except GatewayError as error:
            await render(scope, error)(scope, receive, send)
        except ClientDisconnect:
            return  # nobody is left to be answered
        except Exception:
            exchange = find_exchange(scope)
            if exchange is None or not exchange.response_started:
                await render(scope, GatewayError("The gateway failed. The request was not completed."))(
                    scope, receive, send
                )
            raise

    def _chain(self, scope: Scope) -> ASGIApp | None:
        method, path = scope["method"], scope["raw_path"]
        chain = self.chains.get((method, path))
        if chain is not None:
            return chain
        for (named_method, prefix), named_chain in self.named.items():
            if method == named_method and model_in(path, prefix) is not None:
                return named_chain
        return None
