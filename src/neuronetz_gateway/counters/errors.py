"""Ways in which the counters in Redis cannot serve."""

from neuronetz_gateway.errors import GatewayError, UnavailableError


class CountersUnavailableError(UnavailableError):
    """Redis is away, refused the call or did not answer in time; whether the call took effect is unknown."""

    def __init__(self) -> None:
        super().__init__("The rate limit store did not answer in time. Nothing was sent to the model; try again.")


class EvictingStoreError(GatewayError):
    """Redis may throw counters away to make room, so that limits would not hold (DESIGN §4): refuse to run."""

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"Redis may drop rate limits to make room: its maxmemory-policy is {policy}. "
            "Run 'CONFIG SET maxmemory-policy noeviction' or set it in the server's configuration, then start again."
        )


class ReplicaStoreError(GatewayError):
    """Redis is another one's replica: it takes no writes, or takes them to lose them when it follows its primary."""

    def __init__(self) -> None:
        super().__init__("This Redis is a replica; the gateway needs the primary.")


def unavailable(cause: BaseException | None) -> CountersUnavailableError:
    """The error for one caller, with its cause chained for the log; each caller gets an instance of its own."""
    error = CountersUnavailableError()
    error.__cause__ = cause
    return error
