"""What all connections of one server share."""

from collections.abc import Callable

from uvicorn.server import ServerState

from neuronetz_gateway.http.turn_writes import TurnWrites


class ServingState(ServerState):
    """uvicorn's own, with what is ours."""

    draining = False  # whoever is served now is served for the last time on its connection
    count_refusal: Callable[[str], None] = staticmethod(lambda _reason: None)  # of what never came to the application
    max_connections = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.turn = TurnWrites()
