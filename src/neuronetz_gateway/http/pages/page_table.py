"""Serves the pages for people, in front of whatever else has no chain."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neuronetz_gateway.http.pages.page_files import LANDING, PageFile, page_files, read_page_file

_ROOT = b"/"
_READING = frozenset({"GET", "HEAD"})
_NOT_OF_304 = frozenset({b"content-type", b"content-length"})
_ALLOW = b"GET, HEAD"
_OTHER_METHOD = b"GET alone is answered."


class PageTable:
    """A literal path finds a file, or it goes on `elsewhere`: the files are in memory, the table never changes.

    At `/` programs are greeted as they were (SDKs of Ollama look there whether anybody is in); only who asks for HTML,
    which browsers do and SDKs do not, sees the landing page (docs/decisions/0019).
    """

    def __init__(self, elsewhere: ASGIApp) -> None:
        self._elsewhere, self._files, self._landing = elsewhere, page_files(), read_page_file(LANDING, varies=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._elsewhere(scope, receive, send)
        elif (file := self._files.get(scope["raw_path"])) is not None:
            await _answer(file, scope, send)
        elif scope["raw_path"] != _ROOT or scope["method"] not in _READING:
            await self._elsewhere(scope, receive, send)
        elif asks_for_html(scope):
            await _answer(self._landing, scope, send)
        else:
            await self._elsewhere(scope, receive, _varying(send))


def asks_for_html(scope: Scope) -> bool:
    """Whether Accept names text/html itself; `*/*`, which programs send, does not."""
    ranges = [part for name, value in scope["headers"] if name == b"accept" for part in value.lower().split(b",")]
    return any(_is_html(part) for part in ranges)


def _is_html(media_range: bytes) -> bool:
    media_type, *parameters = (piece.strip() for piece in media_range.split(b";"))
    refused = any(each.replace(b" ", b"").rstrip(b"0").rstrip(b".") in {b"q=", b"q=0"} for each in parameters)
    return media_type == b"text/html" and not refused


async def _answer(file: PageFile, scope: Scope, send: Send) -> None:
    if scope["method"] not in _READING:
        headers = [(b"allow", _ALLOW), (b"content-type", b"text/plain; charset=utf-8")]
        headers.append((b"content-length", b"%d" % len(_OTHER_METHOD)))
        await _send(send, 405, headers, _OTHER_METHOD)
    elif _has_it(scope, file.etag):
        await _send(send, 304, [header for header in file.headers if header[0] not in _NOT_OF_304], b"")
    else:
        await _send(send, 200, list(file.headers), file.body if scope["method"] == "GET" else b"")


def _has_it(scope: Scope, etag: bytes) -> bool:
    """Whether the caller holds this very file; a W/ that a proxy put before its name counts too (RFC 9110 §13.1.2)."""
    named = [part for name, value in scope["headers"] if name == b"if-none-match" for part in value.split(b",")]
    return any(part.strip().removeprefix(b"W/") in {etag, b"*"} for part in named)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _varying(send: Send) -> Send:
    async def varied(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"vary", b"Accept")]
        await send(message)

    return varied
