"""The little of HTTP/1.1 that the demo model needs, on asyncio streams.

As Ollama does, a caller who closes (or half-closes) the connection cancels what is running for it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus

BODY_LIMIT_BYTES = 32 * 1024 * 1024
HEAD_LIMIT_BYTES = 64 * 1024
JSON = "application/json; charset=utf-8"
TEXT = "text/plain"


class BadRequestError(Exception):
    """What came over the wire is no request that is understood here."""


@dataclass(frozen=True)
class Request:
    """One request, its body read whole; header names are lower-case."""

    method: str
    path: str
    version: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        return self.version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"


@dataclass(frozen=True)
class Answer:
    """A status with either a whole body or a generator of its pieces."""

    status: int
    content_type: str = JSON
    body: bytes | AsyncGenerator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


type Handler = Callable[[Request], Awaitable[Answer]]


class Connection:
    """The requests of one connection, one after the other."""

    def __init__(self, handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handler = handler
        self._reader = reader
        self._writer = writer
        self._early = b""

    async def serve(self) -> None:
        """Answer until either side closes."""
        try:
            while (request := await self._request()) is not None:
                await self._answer_unless_left(request)
                if not request.keeps_alive:
                    break
        except BadRequestError as error:
            await self._send(Answer(400, TEXT, str(error).encode()), chunked=True, body=True, closing=True)
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the caller has left: nobody is there to be told
        finally:
            self._writer.close()

    async def _request(self) -> Request | None:
        try:
            head = self._early + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError as error:
            raise BadRequestError("the head of the request is too large") from error
        self._early = b""
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        try:
            method, target, version = first.split(" ")
        except ValueError as error:
            raise BadRequestError("the request line is malformed") from error
        headers = header_fields(lines)
        body = await read_body(self._reader, headers)
        return Request(method, target.split("?", 1)[0], version, headers, body)

    async def _answer_unless_left(self, request: Request) -> None:
        answering = asyncio.ensure_future(self._answer(request))
        leaving = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and leaving.result():
                self._early = leaving.result()  # not a farewell but the first byte of the next request
                await asyncio.wait((answering,))
            if not answering.done():
                raise ConnectionResetError("the caller has left")
            answering.result()
        finally:
            await _cancelled(answering)
            await _cancelled(leaving)
            if not leaving.cancelled() and leaving.exception() is None:
                self._early = leaving.result()

    async def _answer(self, request: Request) -> None:
        answer = await self._handler(request)
        chunked = request.version == "HTTP/1.1"
        await self._send(answer, chunked=chunked, body=request.method != "HEAD", closing=not request.keeps_alive)

    async def _send(self, answer: Answer, *, chunked: bool, body: bool, closing: bool) -> None:
        fields = {"Content-Type": answer.content_type, **answer.headers}
        if isinstance(answer.body, bytes):
            fields["Content-Length"] = str(len(answer.body))
        elif chunked:
            fields["Transfer-Encoding"] = "chunked"
        if closing:
            fields["Connection"] = "close"
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if isinstance(answer.body, bytes):
            self._writer.write(answer.body if body else b"")
        else:
            await self._send_pieces(answer.body, chunked=chunked)
        await self._writer.drain()

    async def _send_pieces(self, pieces: AsyncGenerator[bytes], *, chunked: bool) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await self._writer.drain()
        if chunked:
            self._writer.write(b"0\r\n\r\n")


def header_fields(lines: list[str]) -> dict[str, str]:
    """Header lines as a mapping. Raises `BadRequestError` for a line without a colon."""
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequestError("a header line is malformed")
        fields[name.strip().lower()] = value.strip()
    return fields


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """The body that ``headers`` announce. Raises `BadRequestError` where it is too large or wrongly framed."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = bytearray()
        async for chunk in read_chunks(reader):
            body += chunk
            if len(body) > BODY_LIMIT_BYTES:
                raise BadRequestError("the body is too large")
        return bytes(body)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length) > BODY_LIMIT_BYTES:
        raise BadRequestError("the length of the body is not acceptable")
    return await reader.readexactly(int(length))


async def read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The chunks of a body in chunked coding; trailers are dropped."""
    while True:
        size = _chunk_size(await reader.readline())
        if size == 0:
            break
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass


def _chunk_size(line: bytes) -> int:
    try:
        size = int(line.split(b";", 1)[0], 16)
    except ValueError as error:
        raise BadRequestError("a chunk is malformed") from error
    if not 0 <= size <= BODY_LIMIT_BYTES:
        raise BadRequestError("a chunk is too large")
    return size


async def _cancelled(task: asyncio.Future[object] | asyncio.Future[None] | asyncio.Future[bytes]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
