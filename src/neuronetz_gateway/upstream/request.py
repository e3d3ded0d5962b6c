"""Requests as they are written to the upstream."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import httpx

type Origin = tuple[str, str, int]
"""Scheme, host, port."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """All that is sent before a body, whose length alone is still open."""

    origin: Origin
    method: str
    lines: bytes

    @staticmethod
    def of(method: str, url: httpx.URL, fields: Iterable[tuple[bytes, bytes]]) -> "RequestHead":
        """The literal target, Host from the URL unless given, then the fields as they are.

        Fields that frame the body are left out, since the length of the body decides. Raises
        httpx.UnsupportedProtocol, httpx.LocalProtocolError.
        """
        lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), url.raw_path)]
        host = url.netloc
        for name, value in fields:
            lower = name.lower()
            if lower == b"host":
                host = value
            elif lower not in {b"content-length", b"transfer-encoding"}:
                lines.append(b"%b: %b" % (name, value))
        lines.insert(1, b"Host: %b" % host)
        _refuse_line_breaks(lines)
        if url.scheme not in _DEFAULT_PORTS:
            raise httpx.UnsupportedProtocol(f"no such scheme here: {url.scheme!r}")
        origin = url.scheme, url.raw_host.decode("ascii"), url.port or _DEFAULT_PORTS[url.scheme]
        return RequestHead(origin, method, b"\r\n".join(lines))

    def followed_by(self, fields: Iterable[tuple[bytes, bytes]]) -> "RequestHead":
        """The same head with more fields at its end. Raises httpx.LocalProtocolError."""
        more = [b"%b: %b" % field for field in fields]
        _refuse_line_breaks(more)
        return RequestHead(self.origin, self.method, b"\r\n".join([self.lines, *more]))

    def framed(self, body_bytes: int) -> bytes:
        if body_bytes or self.method in _WITH_BODY:
            return b"%b\r\nContent-Length: %d\r\n\r\n" % (self.lines, body_bytes)
        return self.lines + b"\r\n\r\n"


def _refuse_line_breaks(lines: list[bytes]) -> None:
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a line break within a line of the head")


class RequestTemplate:
    """One method and URL of the upstream with the fields that every request to it carries."""

    def __init__(self, method: str, url: httpx.URL, fields: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.url = url
        self.headers = httpx.Headers(fields)
        self.head = RequestHead.of(method, url, fields)


class PreparedRequest(httpx.Request):
    """A request of which only the body is new, with a trace the fields that name it too.

    It is an httpx.Request to whoever looks, so that any httpx transport can send it. httpx's own constructor, which is
    not called, normalises every field anew, at the price of half an exchange. Content-Length is the transport's to add.
    The transport calls `going_up` when it has a connection, just before the first byte is written.
    """

    def __init__(
        self,
        template: RequestTemplate,
        body: bytes,
        going_up: Callable[[], None],
        fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.method = template.method
        self.url = template.url
        self.headers = template.headers  # shared: nobody changes the fields of a request that is on its way
        self.extensions = {}
        self.stream = httpx.ByteStream(body)
        self.body = body
        self.head = template.head
        self.going_up = going_up
        if fields:
            self.headers = httpx.Headers([*template.headers.raw, *fields])
            self.head = template.head.followed_by(fields)

    def let_body_go(self) -> None:
        """It has been answered; the request stays as a name for what was asked."""
        self.stream, self.body = httpx.ByteStream(b""), b""


async def written(request: httpx.Request) -> tuple[RequestHead, bytes]:
    """Head and body of any request; a body that is a stream is read whole first.

    Raises httpx.LocalProtocolError when a Content-Length differs from the body.
    """
    if isinstance(request, PreparedRequest):
        return request.head, request.body
    body = request.read() if isinstance(request.stream, httpx.ByteStream) else await request.aread()
    if request.headers.get("content-length", str(len(body))) != str(len(body)):
        raise httpx.LocalProtocolError("Content-Length differs from the body")
    return RequestHead.of(request.method, request.url, request.headers.raw), body
