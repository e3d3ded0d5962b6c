"""One connection to a gateway, byte by byte, up to what becomes of it."""

import asyncio
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Received:
    """One answer and the connection after it; status 0: there was none.

    `rest` came behind the answer before the end, where the connection was closed.
    """

    status: int
    head: bytes
    body: bytes
    closed: bool
    rest: bytes = b""
    told_to_continue: bool = False

    def fields(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


async def exchange(base_url: str, sent: bytes, follow_up: bytes, *, seconds: float = 5) -> tuple[Received, Received]:
    """Send it; read its answer. Where the connection says that it stays, send the follow-up, read that one too.

    Raises TimeoutError: what should have come, an answer or the end, did not within the time.
    """
    parts = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    nothing = Received(0, b"", b"", closed=True)
    try:
        async with asyncio.timeout(seconds):
            writer.write(sent)
            first = await answer(reader, has_body=b"HEAD " not in sent[:10])
            if first.closed or first.fields().get("connection") == "close":
                return await _ended(reader, first), nothing
            writer.write(follow_up)
            second = await answer(reader)
            return replace(first, closed=second.closed), second
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> Received:
    """The next answer, with its body."""
    told = False
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        if head == _CONTINUE:
            told, head = True, await reader.readuntil(b"\r\n\r\n")
        found = Received(int(head.split(b" ", 2)[1]), head, b"", closed=False, told_to_continue=told)
        length = int(found.fields()["content-length"]) if has_body else 0
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return Received(0, b"", b"", closed=True)
    return Received(found.status, head, body, closed=False, told_to_continue=told)


async def _ended(reader: asyncio.StreamReader, first: Received) -> Received:
    """Read to the end, which must come: a reset is one."""
    rest = b""
    try:
        while piece := await reader.read(65536):
            rest += piece
    except ConnectionError:
        pass
    return Received(first.status, first.head, first.body, True, rest, first.told_to_continue)
