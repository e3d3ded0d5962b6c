"""What the head of a request must be, beyond what the parser asks, before anything of it is believed."""

import re
from http import HTTPMethod

from neuronetz_gateway.errors import MalformedRequestError

type Fields = list[tuple[bytes, bytes]]  # names in lower case, in the order in which they came

_END = b"\r\n\r\n"
_SPACE = b" \t"
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::[0-9]{0,5})?")  # RFC 3986 §3.2.2, narrowed
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/([0-9]\.[0-9])")  # RFC 9112 §3
_SPOKEN = frozenset({"1.0", "1.1"})
_KNOWN = frozenset(method.value.encode("ascii") for method in HTTPMethod)
NO_REQUEST = "What came is no request of HTTP/1.1."
_WITHOUT_CONTENT = frozenset({b"GET", b"HEAD"})


def head_of(came: bytes, method: bytes, target: bytes, version: str, *, first: bool) -> bytes:
    """The head in its own bytes, among whatever came with it, by the request line as the parser has understood it.

    Of that line the parser takes more spellings than there are (several spaces, RTSP/1.0, no version at all), which
    whoever stands in front may read otherwise. `first`: only line breaks may stand before it, otherwise also the rest
    of the message before, of which nobody knows where it ended.

    Raises MalformedRequestError: there is no such line, or its version is another.
    """
    if version not in _SPOKEN:
        raise _other_version()
    line = b"%b %b HTTP/%b\r\n" % (method, target, version.encode("ascii"))
    start = len(came) - len(came.lstrip(b"\r\n")) if first else _only_spelling(came, line)
    if start < 0 or not came.startswith(line, start):
        raise MalformedRequestError("The request line is not one of HTTP/1.1.")
    return came[start : came.find(_END, start) + len(_END)]


def _only_spelling(came: bytes, line: bytes) -> int:
    """Where it first stands; -1 also where another spelling of it does, since either may be the one that was meant."""
    method, target, version = (re.escape(word) for word in line.split())
    spelt = rb"%b +%b +[A-Z]+/%b\r\n" % (method, target, version.partition(b"/")[2])
    return came.find(line) if all(found[0] == line for found in re.finditer(spelt, came)) else -1


def check_head(method: bytes, target: bytes, version: str, fields: Fields) -> None:
    """Hold a head that the parser has taken against what RFC 9110 and RFC 9112 ask of a server.

    Raises MalformedRequestError: with the status that says what is wrong.
    """
    _check_target(method, target)
    _check_fields(method, version, fields)


def failure_of(came: bytes) -> MalformedRequestError:
    """What to say of a head that the parser did not take: it stops, without a word that could be passed on."""
    line = came.lstrip(b"\r\n").partition(b"\n")[0].removesuffix(b"\r")
    found = _LINE.fullmatch(line)
    if found is None:
        return MalformedRequestError(NO_REQUEST)
    if found[3].decode("ascii") not in _SPOKEN:
        return _other_version()
    if found[1] not in _KNOWN:
        return MalformedRequestError("This method is not known here.", status=501)
    return MalformedRequestError("The head of the request is malformed.")


def method_of(came: bytes) -> str:
    """The method of what came, where it is one that exists; anything else may be a piece of what nobody may read."""
    word = came.lstrip(b"\r\n").partition(b" ")[0]
    return word.decode("ascii") if word in _KNOWN else ""


def _other_version() -> MalformedRequestError:
    return MalformedRequestError("This gateway speaks HTTP/1.1 alone.", status=505)


def _check_target(method: bytes, target: bytes) -> None:
    if method == b"CONNECT":
        raise MalformedRequestError("This gateway opens no tunnels.", status=501)
    if not target.startswith(b"/"):
        raise MalformedRequestError("The request must name a path alone, such as /api/tags; it stands for this host.")
    if b"#" in target:
        raise MalformedRequestError("A path of a request has no fragment ('#').")


def _check_fields(method: bytes, version: str, fields: Fields) -> None:
    hosts = 0
    for name, value in fields:
        if name == b"host":
            hosts += 1
            if _HOST.fullmatch(value.strip(_SPACE)) is None:
                raise MalformedRequestError("'Host' names no host.")
        elif name == b"transfer-encoding":
            _check_coding(method, version, value)
        elif name == b"content-length":
            if method in _WITHOUT_CONTENT and value.strip(b"0" + _SPACE):
                raise _content()
        elif name == b"expect" and version != "1.0" and value.strip(_SPACE).lower() != b"100-continue":
            raise MalformedRequestError("Of 'Expect' only 100-continue is understood.", status=417)
    if hosts > 1 or (hosts == 0 and version != "1.0"):
        raise MalformedRequestError("The request needs one 'Host' header, no more.")


def _check_coding(method: bytes, version: str, value: bytes) -> None:
    if version == "1.0":
        raise MalformedRequestError("HTTP/1.0 knows no 'Transfer-Encoding'.")
    if method in _WITHOUT_CONTENT:
        raise _content()
    if value.strip(_SPACE).lower() != b"chunked":
        raise MalformedRequestError("Of 'Transfer-Encoding' only chunked is understood.", status=501)


def _content() -> MalformedRequestError:
    return MalformedRequestError("A GET or HEAD request has no body.")
