"""HTTP/1.1 byte by byte, for requests that no client library would send."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """status 0: the server closed without an answer."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            field, _, value = line.partition(b":")
            if field.decode("latin-1").lower() == name:
                return value.decode("latin-1").strip()
        return None


async def send_raw(base_url: str, request: bytes, *, timeout_seconds: float = 10) -> RawAnswer:
    """Send bytes on a connection of their own; read one answer with a length, or until the connection closes."""
    parts = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with asyncio.timeout(timeout_seconds):
            writer.write(request)
            await writer.drain()
            return await _answer(reader, has_body=not request.startswith(b"HEAD "))
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, *, has_body: bool) -> RawAnswer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return RawAnswer(0, b"", b"")
    answer = RawAnswer(int(head.split(b" ", 2)[1]), head, b"")
    length = answer.header("content-length")
    body = await reader.readexactly(int(length)) if length and has_body else b""
    return RawAnswer(answer.status, head, body)


def request_bytes(
    method: str, target: str, *, key: str | None = None, body: bytes = b"", host: str = "gateway"
) -> bytes:
    """A GET or HEAD has no body, whatever is given for the others."""
    body = b"" if method in {"GET", "HEAD"} else body
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", "Connection: close"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True)
class RawEnd:
    """One answer up to the close of its connection; whole says that it was framed as complete."""

    status: int
    head: bytes
    body: bytes
    whole: bool


async def send_to_the_end(base_url: str, request: bytes, *, timeout_seconds: float = 10) -> RawEnd:
    """Send bytes on a connection of their own, which asks to be closed; read whatever comes until it is."""
    parts = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with asyncio.timeout(timeout_seconds):
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            body, whole = await _framed(reader, RawAnswer(0, head, b""))
            return RawEnd(int(head.split(b" ", 2)[1]), head, body, whole)
    finally:
        writer.close()


async def _framed(reader: asyncio.StreamReader, answer: RawAnswer) -> tuple[bytes, bool]:
    if answer.header("transfer-encoding") == "chunked":
        return await _chunks(reader)
    length = int(answer.header("content-length") or 0)
    body = await reader.read(-1)
    return body, len(body) == length


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    body = b""
    try:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return body, False
    return body, True
