"""Finding the key that a request presents."""

from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.surface import RawHeaders

_AUTHORIZATION = b"authorization"
_BEARER = b"bearer"
_SPACE = b" \t"


def bearer(headers: RawHeaders) -> str | None:
    """The text of `Authorization: Bearer`; None where there is none, or another scheme.

    Raises InvalidRequestError: the header stands there more than once with different values: which one was meant
    may be read in two ways, so that neither is.
    """
    presented: tuple[bytes, bytes] | None = None
    for name, value in headers:
        if name == _AUTHORIZATION:
            one = _split(value)
            if presented is not None and one != presented:
                raise InvalidRequestError("The request carries two different credentials; send one.")
            presented = one
    if presented is None or presented[0] != _BEARER or not presented[1]:
        return None
    return presented[1].decode("latin-1")


def _split(value: bytes) -> tuple[bytes, bytes]:
    scheme, _, credential = value.strip(_SPACE).partition(b" ")
    return scheme.lower(), credential.strip(_SPACE)
