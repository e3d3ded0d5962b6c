"""What a Redis server says of itself."""

from dataclasses import dataclass

from neuronetz_gateway.counters.errors import EvictingStoreError, ReplicaStoreError

_KEEPS_ALL = "noeviction"
_REPLICA = "slave"  # the word of the protocol


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Which server it is: another run id is another server, with another memory (a restart included)."""

    run_id: bytes

    @classmethod
    def read(cls, info: object) -> "ServerFacts":
        """From the sections `server`, `memory` and `replication` of INFO.

        Raises EvictingStoreError, ReplicaStoreError, or ValueError where it does not say who it is.
        """
        fields = _fields(info)
        run_id = fields.get("run_id")
        if not run_id:
            raise ValueError("INFO server names no run_id.")
        if fields.get("role") == _REPLICA:
            raise ReplicaStoreError
        check_eviction_policy(info)
        return cls(run_id.encode())


def check_eviction_policy(info: object) -> None:
    """Raises EvictingStoreError unless the server keeps what it was given (maxmemory-policy noeviction)."""
    policy = _fields(info).get("maxmemory_policy", "unknown")
    if policy != _KEEPS_ALL:
        raise EvictingStoreError(policy)


def _fields(info: object) -> dict[str, str]:
    text = info.decode(errors="replace") if isinstance(info, bytes) else str(info)
    return dict(line.partition(":")[::2] for line in text.splitlines())
