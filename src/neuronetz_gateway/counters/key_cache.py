"""Verified principals that the gateway's processes share through Redis, sealed against forgery."""

import hashlib
import hmac
from collections.abc import Callable

from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import unavailable

_MAC_BYTES = hashlib.sha256().digest_size


def _ignore() -> None:
    """Nobody counts forged entries."""


class KeyCache:
    """Payloads by name for `ttl_seconds`, each under a MAC: whoever can write Redis still cannot forge an identity.

    Names have one length (a keyed digest), so that name and payload cannot be split in two ways. `on_forged` is told
    of each entry whose MAC is wrong. Every method raises CountersUnavailableError where Redis does not serve.
    """

    def __init__(
        self, redis: BatchedRedis, *, mac_key: bytes, ttl_seconds: int, on_forged: Callable[[], None] = _ignore
    ) -> None:
        self._redis = redis
        self._mac_key = mac_key
        self._ttl_seconds = ttl_seconds
        self._on_forged = on_forged

    async def find(self, name: bytes) -> bytes | None:
        """The payload stored under a name; None where there is none or it was not we who stored it."""
        entry = await self._redis.call("GET", _key(name))
        if entry is None:
            return None
        if not isinstance(entry, bytes):
            raise unavailable(TypeError(f"GET answered {type(entry).__name__}."))
        seal, payload = entry[:_MAC_BYTES], entry[_MAC_BYTES:]
        if hmac.compare_digest(seal, self._seal(name, payload)):
            return payload
        self._on_forged()
        return None

    async def store(self, name: bytes, payload: bytes) -> None:
        """Keeps a payload under a name until its time is over."""
        await self._redis.call("SET", _key(name), self._seal(name, payload) + payload, "EX", self._ttl_seconds)

    async def forget(self, name: bytes) -> None:
        """Removes what is stored under a name, if anything is."""
        await self._redis.call("DEL", _key(name))

    def _seal(self, name: bytes, payload: bytes) -> bytes:
        return hmac.digest(self._mac_key, name + payload, "sha256")


def _key(name: bytes) -> str:
    return f"nz:key:{name.hex()}"
