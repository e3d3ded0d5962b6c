"""The files of the pages, read once at the start of a process."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from neuronetz_gateway.http.pages.page_headers import PAGE_HEADERS

type RawHeaders = tuple[tuple[bytes, bytes], ...]

LANDING = "landing.html"
PLAYGROUND_PATH = b"/playground"
_TYPES = {
    "css": b"text/css; charset=utf-8",
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
# Named one by one: no path is ever made of what a caller sent.
ASSETS = (
    "account.js",
    "answer.js",
    "api.js",
    "chat.js",
    "conversation.js",
    "copying.js",
    "elements.js",
    "exchange.js",
    "gauge.js",
    "icon.svg",
    "key.js",
    "landing.css",
    "landing.js",
    "lines.js",
    "models.js",
    "notice.js",
    "pages.css",
    "playground.css",
    "playground.js",
    "plot.js",
    "records.js",
    "refusals.js",
    "speed.js",
    "standing.js",
    "surfaces.js",
    "texts.js",
    "words.js",
)


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as it is sent; `headers` hold its type, its length and what every page says of itself."""

    body: bytes
    etag: bytes
    headers: RawHeaders


def page_files() -> Mapping[bytes, PageFile]:
    """Every file by the path that it is served at, apart from the landing page; raises OSError where one is missing."""
    return {
        PLAYGROUND_PATH: read_page_file("playground.html"),
        **{PLAYGROUND_PATH + b"/" + name.encode("ascii"): read_page_file(name) for name in ASSETS},
    }


def read_page_file(name: str, *, varies: bool = False) -> PageFile:
    """One file; `varies` says that its path has something else for those who do not ask for HTML."""
    body = resources.files(__package__).joinpath("static", name).read_bytes()
    etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")
    headers = {
        b"content-type": _TYPES[name.rpartition(".")[2]],
        b"content-length": b"%d" % len(body),
        b"etag": etag,
        **PAGE_HEADERS,
    }
    if varies:
        headers[b"vary"] = b"Accept"
    return PageFile(body, etag, tuple(headers.items()))
