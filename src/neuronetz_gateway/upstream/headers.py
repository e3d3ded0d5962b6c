"""Which header fields cross the hop."""

from importlib.metadata import version

import httpx

from neuronetz_gateway.upstream.received import fields_of

_RETURNED = frozenset({b"content-type", b"content-length"})
_FIXED = (
    (b"Accept", b"*/*"),
    # A compressed answer could be neither metered nor handed on record by record.
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", f"neuronetz-gateway/{version('neuronetz-gateway')}".encode("ascii")),
)


def request_headers(*, with_body: bool) -> list[tuple[bytes, bytes]]:
    """The fields that go up (OLLAMA §5.4), none of them the caller's.

    The transport adds the two that depend on where and what is sent: Host, Content-Length.
    """
    return [(b"Content-Type", b"application/json"), *_FIXED] if with_body else list(_FIXED)


def response_headers(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The fields that come back, with lower-case names as ASGI has them.

    content-length holds only while the body is passed on unchanged.
    """
    return [(name.lower(), value) for name, value in fields_of(response) if name.lower() in _RETURNED]


def is_encoded(response: httpx.Response) -> bool:
    """Whether the body is compressed, although `identity` was asked for."""
    return any(
        name.lower() == b"content-encoding" and value.strip().lower() != b"identity"
        for name, value in fields_of(response)
    )
