"""A route that matches one literal path by one method."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from neuronetz_gateway.surfaces.surface import Endpoint


class EndpointRoute(Route):
    """The row of the endpoint table as a route: what was sent on the wire must be the path itself, byte by byte.

    Starlette matches decoded paths and adds HEAD to GET; here neither may happen (OLLAMA §2).
    """

    def __init__(self, endpoint: Endpoint, app: ASGIApp, middleware: Sequence[Middleware]) -> None:
        super().__init__(endpoint.path, app, methods=[endpoint.method], middleware=middleware)
        self.literal = (endpoint.method, endpoint.path, endpoint.path.encode("ascii"))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        method, path, raw = self.literal
        same = scope["type"] == "http" and scope["path"] == path and scope["method"] == method
        return (Match.FULL if same and scope.get("raw_path", raw) == raw else Match.NONE), {}
