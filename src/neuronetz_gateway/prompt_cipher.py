"""Seals logged prompts so that the database alone cannot read them."""

from collections.abc import Callable
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from neuronetz_gateway.domain.prompt import Sealed
from neuronetz_gateway.errors import GatewayError

_KEY_BYTES = 32
_NONCE_BYTES = 12  # random; good for 2**32 prompts a key (NIST SP 800-38D §8.3), after which PROMPT_LOG_KEY is rotated
_KEY_ID_CHARACTERS = 16
_LABEL = b"neuronetz-gateway:prompt-log:v1"


class PromptUnreadableError(GatewayError):
    """The prompt was sealed under a key that is not configured any more, or was changed since."""


class PromptCipher:
    """AES-256-GCM under a key derived from PROMPT_LOG_KEY; shows no secret in its repr.

    What is sealed is bound to a context: it opens under that very context only, so that rows cannot be exchanged.
    `random_bytes` yields that many bytes (secrets.token_bytes). A previous key goes on opening what it sealed.
    """

    def __init__(self, key: bytes, previous: bytes | None, *, random_bytes: Callable[[int], bytes]) -> None:
        self.key_id = _key_id(key)
        self._random_bytes = random_bytes
        self._ciphers = {_key_id(each): AESGCM(_derived(each)) for each in (previous, key) if each}

    def seal(self, prompt: bytes, context: bytes) -> Sealed:
        nonce = self._random_bytes(_NONCE_BYTES)
        return Sealed(self.key_id, nonce, self._ciphers[self.key_id].encrypt(nonce, prompt, context))

    def open(self, sealed: Sealed, context: bytes) -> bytes:
        """The prompt again; raises PromptUnreadableError."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise PromptUnreadableError(
                f"This prompt was sealed under the key {sealed.key_id}, which is neither PROMPT_LOG_KEY nor "
                "PROMPT_LOG_KEY_PREVIOUS."
            )
        try:
            return cipher.decrypt(sealed.nonce, sealed.text, context)
        except InvalidTag:
            raise PromptUnreadableError(
                "This prompt, or what stands beside it, was changed since it was sealed."
            ) from None


def _derived(key: bytes) -> bytes:
    return HKDF(SHA256(), length=_KEY_BYTES, salt=None, info=_LABEL).derive(key)


def _key_id(key: bytes) -> str:
    """Names a key without telling it."""
    return sha256(_LABEL + _derived(key)).hexdigest()[:_KEY_ID_CHARACTERS]
