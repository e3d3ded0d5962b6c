"""A reader of HTTP/1.1 as strict as RFC 9112 allows, to tell which bytes may be taken for requests at all."""

import re
from dataclasses import dataclass

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[\x21\x22\x24-\x7e]*) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*))?[ \t]*")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]*)?")
_EXTENSION = rb"(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|\"[^\"\r\n\x00]*\"))?)*"
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)" + _EXTENSION + rb"\r\n")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes


def requests_in(stream: bytes) -> list[Request]:
    """The requests that stand in the stream one behind the other, up to the first that is none or not whole."""
    found = []
    while (read := _next(stream.lstrip(b"\r\n"))) is not None:
        request, stream = read
        found.append(request)
    return found


def _next(stream: bytes) -> tuple[Request, bytes] | None:
    head, ended, rest = stream.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    found = _LINE.fullmatch(line)
    fields = [_FIELD.fullmatch(each) for each in lines]
    if not ended or found is None or None in fields:
        return None
    method, target, minor = found.groups()
    named: dict[bytes, list[bytes]] = {}
    for field in fields:
        if field is not None:
            named.setdefault(field[1].lower(), []).append((field[2] or b"").rstrip(b" \t"))
    if not _hosts_are_good(named.get(b"host", []), minor):
        return None
    read = _body(named, minor, rest)
    if read is None or (read[0] and method in {b"GET", b"HEAD"}):
        return None
    return Request(method.decode(), target.partition(b"?")[0].decode(), read[0]), read[1]


def _hosts_are_good(hosts: list[bytes], minor: bytes) -> bool:
    if not hosts:
        return minor == b"0"
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None


def _body(named: dict[bytes, list[bytes]], minor: bytes, rest: bytes) -> tuple[bytes, bytes] | None:
    codings, lengths = named.get(b"transfer-encoding"), named.get(b"content-length")
    if codings is not None:
        if lengths is not None or minor == b"0" or [each.lower() for each in codings] != [b"chunked"]:
            return None
        return _chunks(rest)
    if lengths is None:
        return b"", rest
    if len(lengths) != 1 or not re.fullmatch(rb"[0-9]+", lengths[0]) or len(rest) < int(lengths[0]):
        return None
    return rest[: int(lengths[0])], rest[int(lengths[0]) :]


def _chunks(rest: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while (found := _CHUNK.match(rest)) is not None:
        size, rest = int(found[1], 16), rest[found.end() :]
        if size == 0:
            return _behind_trailers(body, rest)
        if rest[size : size + 2] != b"\r\n":
            return None
        body, rest = body + rest[:size], rest[size + 2 :]
    return None


def _behind_trailers(body: bytes, rest: bytes) -> tuple[bytes, bytes] | None:
    while not rest.startswith(b"\r\n"):
        line, ended, rest = rest.partition(b"\r\n")
        if not ended or _FIELD.fullmatch(line) is None:
            return None
    return body, rest[2:]
