"""What a hostile request of the table is, with the pieces that they are made of."""

import json
from dataclasses import dataclass

KEY = b"@KEY@"  # stands for a good key, so that what is refused is refused for its form alone
BODY = json.dumps({"model": "fakea", "messages": [{"role": "user", "content": "Hello"}], "stream": False}).encode()
CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)
LAST = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request byte by byte, the answer, the reason for it.

    status 0: the connection is closed without an answer. kept: the connection then serves the next request, else it is
    closed. reached: the routes of the model server that it reaches, in order.
    """

    name: str
    sent: bytes
    status: int
    why: str
    kept: bool = False
    reached: tuple[str, ...] = ()

    def with_key(self, key: str) -> bytes:
        return self.sent.replace(KEY, key.encode("ascii"))


def head(line: bytes, *fields: bytes, host: bool = True, key: bool = True) -> bytes:
    """A head of a request line, `Host`, a good credential, then the fields."""
    given = [line]
    if host:
        given.append(b"Host: gateway")
    if key:
        given.append(b"Authorization: Bearer " + KEY)
    return b"\r\n".join([*given, *fields]) + b"\r\n\r\n"


def get(*fields: bytes, target: bytes = b"/api/tags", method: bytes = b"GET", host: bool = True) -> bytes:
    return head(b"%b %b HTTP/1.1" % (method, target), *fields, host=host)


def post(*fields: bytes, target: bytes = b"/api/chat", body: bytes = BODY) -> bytes:
    """A request whose fields say how long it is."""
    return head(b"POST %b HTTP/1.1" % target, *fields) + body


def sized(*fields: bytes, target: bytes = b"/api/chat", body: bytes = BODY) -> bytes:
    return post(b"Content-Length: %d" % len(body), *fields, target=target, body=body)


def chunked(body: bytes, *fields: bytes, target: bytes = b"/api/chat") -> bytes:
    return post(b"Transfer-Encoding: chunked", *fields, target=target, body=body)


def refused(name: str, sent: bytes, why: str, status: int = 400) -> Hostile:
    """What never gets past the connection."""
    return Hostile(name, sent, status, why)


def served(name: str, sent: bytes, why: str, *reached: str, kept: bool = True) -> Hostile:
    return Hostile(name, sent, 200, why, kept=kept, reached=reached)


def elsewhere(name: str, sent: bytes, why: str, status: int, *, kept: bool = True) -> Hostile:
    """A request of HTTP/1.1 that the gateway itself says no to."""
    return Hostile(name, sent, status, why, kept=kept)
