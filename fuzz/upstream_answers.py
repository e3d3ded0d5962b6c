"""Target: an answer of the upstream is framed in one way, however it arrives, or refused."""

import httpx

from fuzz.target import Chopped, Target, is_fit_to_be_shown, must, packed
from neuronetz_gateway.upstream.framing import ResponseParser
from neuronetz_gateway.upstream.reply import Reply

_MAX_HEAD_BYTES = 64 << 10
_SMALL_HEAD_BYTES = 48
_FINAL = 200

type Framed = tuple[int, list[tuple[bytes, bytes]], bytes, str]


class _NoConnection:
    def abort(self) -> None: ...

    def resume_reading(self) -> None: ...


def framed(chunks: list[bytes], max_head_bytes: int, *, to_head_request: bool) -> Framed:
    """Status, fields, body, how it ended: as a connection would hear it, which is closed behind the last chunk."""
    reply, parser = Reply(_NoConnection()), ResponseParser(max_head_bytes)
    parser.expect(reply, to_head_request=to_head_request)
    ending = "cut off"
    for chunk in chunks:
        if reply.complete:
            break
        try:
            parser.feed(memoryview(chunk))
        except httpx.RemoteProtocolError as error:
            must(is_fit_to_be_shown(str(error)), "an error that is not fit to be shown")
            ending = "refused"
            break
    if reply.complete:
        ending = "complete"
    elif reply.ends_with_connection and ending == "cut off":
        ending = "ended with its connection"
    must(reply.status == 0 or reply.status >= _FINAL, "an interim status is taken for the answer's")
    return reply.status, reply.headers, bytes(reply.body), ending


def frames_alike(chopped: Chopped) -> None:
    to_head_request = bool(chopped.kind & 1)
    whole = framed([chopped.stream] if chopped.stream else [], _MAX_HEAD_BYTES, to_head_request=to_head_request)
    in_pieces = framed(chopped.chunks(), _MAX_HEAD_BYTES, to_head_request=to_head_request)
    _check(in_pieces, chopped.stream, to_head_request=to_head_request)
    if len(chopped.stream) <= _MAX_HEAD_BYTES:  # else the bound of a head may be passed sooner in pieces
        must(in_pieces == whole, "in pieces", in_pieces, "as a whole", whole)
    if len(chopped.stream) <= _MAX_HEAD_BYTES // 8:
        bytewise = [chopped.stream[at : at + 1] for at in range(len(chopped.stream))]
        must(framed(bytewise, _MAX_HEAD_BYTES, to_head_request=to_head_request) == whole, "byte by byte it is another")
    _check(whole, chopped.stream, to_head_request=to_head_request)
    framed(chopped.chunks(), _SMALL_HEAD_BYTES, to_head_request=to_head_request)


def _check(whole: Framed, stream: bytes, *, to_head_request: bool) -> None:
    status, fields, body, ending = whole
    must(len(body) <= len(stream), "more body than there were bytes")
    must(not (to_head_request and body), "a body in answer to HEAD")
    if not status:
        must(ending in {"cut off", "refused"} and not body, "an answer without a head")
        return
    lengths = [int(value) for name, value in fields if name.lower() == b"content-length"]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    must(len(lengths) + len(codings) <= 1, "two framings")
    bodyless = to_head_request or status in {204, 304}
    if ending == "complete" and lengths and not bodyless:
        must(len(body) == lengths[0], "a whole answer of another length than it was told")
    must(not lengths or len(body) <= lengths[0], "more body than it was told")


def check(data: bytes) -> None:
    frames_alike(Chopped.of(data))


STREAMS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\none\r\n3\r\ntwo\r\n0\r\nT: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
)
WORDS = (
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Content-Length: ", b"0",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n", b"5\r\n",
    b"Connection: keep-alive\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"0\r\n\r\n", b"f" * 16, b";", b" ",
    b"\x00",
    b"Keep-Alive: ", b"Proxy-Connection: close\r\n", b"Trailer: x\r\n", b"+", b"-", b", ", b":", b"204", b"304", b"101",
)  # fmt: skip


def _seeds() -> list[bytes]:
    return [packed(kind, stream) for stream in STREAMS for kind in range(2)]


TARGET = Target(check, _seeds, WORDS)
