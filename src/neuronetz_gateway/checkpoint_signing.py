"""Signs checkpoints of the audit chains so that anybody with the public key can check them."""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from neuronetz_gateway.errors import InvalidRequestError

_LABEL = b"neuronetz-gateway:audit-checkpoint:v1"
_KEY_ID_BYTES = 8
_PUBLIC_KEY_BYTES = 32


class CheckpointSigner:
    """Ed25519 (RFC 8032) under a key derived from a secret; shows neither in its repr."""

    def __init__(self, secret: bytes) -> None:
        # A label of its own: what else is derived from the secret tells nothing of this key.
        self._key = Ed25519PrivateKey.from_private_bytes(hmac.digest(secret, _LABEL, "sha256"))
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public_key)

    def sign(self, document: str) -> bytes:
        """The signature (64 bytes) of a text in UTF-8."""
        return self._key.sign(document.encode())


class CheckpointKeys:
    """The public keys whose signatures count."""

    def __init__(self, public_keys: Iterable[bytes]) -> None:
        self._keys = {key_id_of(each): Ed25519PublicKey.from_public_bytes(each) for each in public_keys}

    def knows(self, key_id: str) -> bool:
        return key_id in self._keys

    def verifies(self, key_id: str, document: str, signature: bytes) -> bool:
        """Whether the key of that name signed the text; False where it is not known."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, document.encode())
        except InvalidSignature:
            return False
        return True


def key_id_of(public_key: bytes) -> str:
    """The name of a key: 16 hexadecimal digits of the SHA-256 of the public key."""
    return sha256(public_key).digest()[:_KEY_ID_BYTES].hex()


def read_public_key(text: str) -> bytes:
    """A public key as it is typed, 64 hexadecimal digits; raises InvalidRequestError."""
    try:
        key = bytes.fromhex(text.strip())
        if len(key) == _PUBLIC_KEY_BYTES:
            Ed25519PublicKey.from_public_bytes(key)
            return key
    except ValueError:
        pass
    raise InvalidRequestError("A public key is 64 hexadecimal digits, as 'audit checkpoints' shows it.")
