"""Finding the key that a request presents."""

from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.surface import RawHeaders

_AUTHORIZATION, _API_KEY = b"authorization", b"x-api-key"
_BEARER = b"bearer"
_SPACE = b" \t"


def bearer(headers: RawHeaders) -> str | None:
    """The text of `Authorization: Bearer`; None where there is none, or another scheme.

    Raises InvalidRequestError: the header stands there more than once with different values: which one was meant
    may be read in two ways, so that neither is.
    """
    presented = _authorization(headers)
    if presented is None or presented[0] != _BEARER or not presented[1]:
        return None
    return presented[1].decode("latin-1")


def bearer_or_api_key(headers: RawHeaders) -> str | None:
    """The key of `Authorization: Bearer` or of `x-api-key`, in which older Anthropic SDKs send it (OLLAMA §6).

    A header without a key in it, as programs send it whose setting is empty, does not count beside the other.

    Raises InvalidRequestError: both hold something, but not the same key; or one of them stands there more than once
    with different values.
    """
    authorization, api_key = _authorization(headers), _api_key(headers)
    if not api_key:
        return bearer(headers)
    if authorization is not None and authorization not in {(_BEARER, api_key), (_BEARER, b""), (b"", b"")}:
        raise _two_credentials()
    return api_key.decode("latin-1")


def _authorization(headers: RawHeaders) -> tuple[bytes, bytes] | None:
    """Scheme, in lower case, and credential."""
    presented: tuple[bytes, bytes] | None = None
    for name, value in headers:
        if name == _AUTHORIZATION:
            one = _split(value)
            if presented is not None and one != presented:
                raise _two_credentials()
            presented = one
    return presented


def _api_key(headers: RawHeaders) -> bytes:
    values = {value.strip(_SPACE) for name, value in headers if name == _API_KEY}
    if len(values) > 1:
        raise _two_credentials()
    return values.pop() if values else b""


def _split(value: bytes) -> tuple[bytes, bytes]:
    scheme, _, credential = value.strip(_SPACE).partition(b" ")
    return scheme.lower(), credential.strip(_SPACE)


def _two_credentials() -> InvalidRequestError:
    return InvalidRequestError("The request carries two different credentials; send one.")
