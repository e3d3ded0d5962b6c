"""Hashing of keys: the keyed digests that cost microseconds beside the Argon2id that has the last word."""

import hmac
from hashlib import sha256

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError

from neuronetz_gateway.domain.api_key import KeyCredential, PlainKey
from neuronetz_gateway.errors import UnavailableError

_PEPPER_ID_CHARACTERS = 16
_FINGERPRINT_BYTES = 16
# Keys derived from the pepper, one a purpose. No label has the shape of a key, so none can meet a stored digest.
_LABEL = "neuronetz-gateway:{}:v1"


class KeyHasher:
    """Digests keys under the pepper, proves them by Argon2id; shows no secret in its repr.

    memory_kib, time_cost (passes) and parallelism (lanes) are the parameters of Argon2id; the default of the settings
    is the OWASP profile (DESIGN §3). During a rotation credentials of the previous pepper go on matching. Every process
    must know both peppers before the first one makes the new pepper its current one.
    """

    def __init__(
        self, pepper: bytes, previous_pepper: bytes | None, *, memory_kib: int, time_cost: int, parallelism: int
    ) -> None:
        self.pepper_id = _pepper_id(pepper)
        self.mac_key = _derived(pepper, "key-cache-mac")
        self._pepper = pepper
        self._peppers = {self.pepper_id: pepper}
        if previous_pepper:
            self._peppers[_pepper_id(previous_pepper)] = previous_pepper
        # Keyed once, copied a call: a fresh HMAC costs twice as much, on every request
        self._namer = hmac.new(_derived(pepper, "cache-name"), digestmod=sha256)
        self._fingerprint_key = _derived(pepper, "hash-fingerprint")
        self._no_digest = _derived(pepper, "no-digest")
        self._argon2 = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)

    def digest(self, key: PlainKey) -> bytes:
        """The 32 bytes that are stored beside the Argon2id hash, under the current pepper."""
        return _keyed(self._pepper, key)

    def matches(self, key: PlainKey, credential: KeyCredential) -> bool:
        """Whether the digest is that of the key, in constant time; an unknown pepper is no match."""
        pepper = self._peppers.get(credential.pepper_id)
        if pepper is None:
            return self.dummy_matches(key)
        return hmac.compare_digest(_keyed(pepper, key), credential.digest)

    def dummy_matches(self, key: PlainKey) -> bool:
        """False at the price of `matches`, for a prefix that nobody has."""
        hmac.compare_digest(_keyed(self._pepper, key), self._no_digest)
        return False

    def cache_name(self, key: PlainKey) -> bytes:
        """The name (32 bytes) of a whole key in caches; neither the key nor its stored digest can be told from it."""
        namer = self._namer.copy()
        namer.update(key.value.encode())
        return namer.digest()

    def fingerprint(self, secret_hash: str) -> bytes:
        """Names a stored hash (16 bytes), so that a cached proof counts for that very hash only."""
        return hmac.digest(self._fingerprint_key, secret_hash.encode(), "sha256")[:_FINGERPRINT_BYTES]

    def hash(self, key: PlainKey) -> str:
        """The encoded Argon2id hash with a salt of its own; slow, pure CPU. UnavailableError as `verify`."""
        try:
            return self._argon2.hash(key.value)
        except HashingError as error:
            raise UnavailableError("The key could not be hashed.") from error

    def verify(self, key: PlainKey, secret_hash: str) -> bool:
        """Whether Argon2id agrees; slow, pure CPU. UnavailableError if it could not be computed, as without memory."""
        try:
            return self._argon2.verify(secret_hash, key.value)
        except (VerifyMismatchError, InvalidHashError):
            return False
        except VerificationError as error:
            raise UnavailableError("The key could not be verified.") from error

    def needs_rehash(self, secret_hash: str) -> bool:
        """Whether a hash was made with other parameters than those of today."""
        return self._argon2.check_needs_rehash(secret_hash)


def _keyed(pepper: bytes, key: PlainKey) -> bytes:
    return hmac.digest(pepper, key.value.encode(), "sha256")


def _derived(pepper: bytes, purpose: str) -> bytes:
    return hmac.digest(pepper, _LABEL.format(purpose).encode(), "sha256")


def _pepper_id(pepper: bytes) -> str:
    return _derived(pepper, "pepper-id").hex()[:_PEPPER_ID_CHARACTERS]
