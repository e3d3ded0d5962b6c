"""Which header fields cross the hop."""

from importlib.metadata import version

import httpx

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

    content-length holds only while the body is passed on unchanged. Raises httpx.RemoteProtocolError for an encoded
    body, which was not asked for: without the field that names its coding it would be handed on as rubbish.
    """
    returned = []
    for name, value in response.headers.raw:
        lower = name.lower()
        if lower in _RETURNED:
            returned.append((lower, value))
        elif lower == b"content-encoding" and value.strip().lower() != b"identity":
            raise httpx.RemoteProtocolError("the upstream encoded its answer unasked")
    return returned
