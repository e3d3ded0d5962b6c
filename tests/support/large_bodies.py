"""Request bodies of a given size whose shapes cost a parser as much memory as the limits let them."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_NODES = 199_000  # just within MAX_JSON_NODES
_DEPTH = 60  # just within MAX_JSON_DEPTH
_PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\x00" * 40)


@dataclass(frozen=True, slots=True)
class Shape:
    """`body(size_bytes)` is about so long; path is where it is sent."""

    path: str
    body: Callable[[int], bytes]


def _message(content: bytes, rest: bytes = b"") -> bytes:
    return b'{"model":"fakea","stream":false,"messages":[{"role":"user","content":' + content + b"}]" + rest + b"}"


def _padded(head: bytes, tail: bytes, size: int, fill: bytes = b"x") -> bytes:
    return head + fill * ((size - len(head) - len(tail)) // len(fill)) + tail


def one_text(size: int) -> bytes:
    head, tail = _message(b'"<here>"').split(b"<here>")
    return _padded(head, tail, size)


def wide_text(size: int) -> bytes:
    """One letter outside of the Basic Multilingual Plane makes each of the others four bytes wide in Python."""
    head, tail = _message('"\U0001f600<here>"'.encode()).split(b"<here>")
    return _padded(head, tail, size)


def escaped_text(size: int) -> bytes:
    head, tail = _message(b'"<here>"').split(b"<here>")
    return _padded(head, tail, size, rb"\u0001")


def lone_escapes(size: int) -> bytes:
    head, tail = _message(b'"<here>"').split(b"<here>")
    return _padded(head, tail, size, rb"\"")


def white_space(size: int) -> bytes:
    head, tail = _message(b'"Hello"<here>').split(b"<here>")
    return _padded(head, tail, size, b" ")


def _listed(pieces: Iterator[bytes]) -> bytes:
    return b"[" + b",".join(pieces) + b"]"


def many_numbers(_: int) -> bytes:
    return _message(b'"Hello"', b',"x":' + _listed(b"%d" % (10**15 + n) for n in range(_NODES)))


def many_empty_objects(_: int) -> bytes:
    return _message(b'"Hello"', b',"x":' + _listed(b"{}" for _ in range(_NODES)))


def many_pairs(size: int) -> bytes:
    """Objects of one key each, all of them another."""
    count = _NODES // 2
    length = max(1, size // count - 16)
    return _message(b'"Hello"', b',"x":' + _listed(b'{"%b%d":1}' % (b"k" * (length - 6), n) for n in range(count)))


def many_keys(size: int) -> bytes:
    length = max(1, size // _NODES - 16)
    keys = b",".join(b'"%b%d":[]' % (b"k" * length, n) for n in range(_NODES))
    return _message(b'"Hello"', b',"x":{' + keys + b"}")


def many_strings(size: int) -> bytes:
    length = max(1, size // _NODES - 4)
    return _message(b'"Hello"', b',"x":' + _listed(b'"' + b"s" * length + b'"' for _ in range(_NODES)))


def many_wide_strings(size: int) -> bytes:
    length = max(1, size // _NODES - 8)
    text = '"\U0001f600'.encode() + b"s" * length + b'"'
    return _message(b'"Hello"', b',"x":' + _listed(text for _ in range(_NODES)))


def deep(size: int) -> bytes:
    chain = b"[" * _DEPTH + b"]" * _DEPTH
    return _message(b'"Hello"', b',"x":[' + b",".join([chain] * (_NODES // _DEPTH - 1)) + b"]") + b" " * (size // 2)


def many_messages(size: int) -> bytes:
    count = _NODES // 3
    length = max(1, size // count - 32)
    one = b'{"role":"user","content":"' + b"m" * length + b'"}'
    return b'{"model":"fakea","stream":false,"messages":' + _listed(one for _ in range(count)) + b"}"


def many_parts(size: int) -> bytes:
    count = _NODES // 3
    length = max(1, size // count - 26)
    one = b'{"type":"text","text":"' + b"p" * length + b'"}'
    return _message(_listed(one for _ in range(count)))


def many_parts_with_a_cap(size: int) -> bytes:
    return many_parts(size).replace(b"{", b'{"max_tokens":20,', 1)


def images(size: int) -> bytes:
    each = _PICTURE + b"A" * (size // 64 - len(_PICTURE) - 3)
    return _message(b'"Hello"', b"").replace(
        b'"content":', b'"images":' + _listed(b'"' + each + b'"' for _ in range(64)) + b',"content":'
    )


def tools(size: int) -> bytes:
    count = _NODES // 8
    length = max(1, size // count - 110)
    one = (
        b'{"type":"function","function":{"name":"n","description":"' + b"<" * length + b'",'
        b'"parameters":{"type":"object","properties":{}}}}'
    )
    return _message(b'"Hello"', b',"tools":' + _listed(one for _ in range(count)))


def token_ids(size: int) -> bytes:
    count = min(_NODES, size // 8)
    body = b'{"model":"fakea","stream":false,"prompt":"Hello","context":'
    return body + _listed(b"%d" % n for n in range(count)) + b"}"


def inputs(size: int) -> bytes:
    each = b'"' + b"i" * (size // 2048 - 3) + b'"'
    return b'{"model":"fakea","input":' + _listed(each for _ in range(2048)) + b"}"


def too_many_values(size: int) -> bytes:
    return _message(b'"Hello"', b',"x":[' + b",".join([b"[]"] * ((size - 100) // 3)) + b"]")


def values_in_a_string(size: int) -> bytes:
    head, tail = _message(b'"<here>"').split(b"<here>")
    return _padded(head, tail, size, b"[{,")


def unclosed(size: int) -> bytes:
    return _padded(_message(b'"<here>"').split(b"<here>")[0], b"", size, rb"\\\",")


def too_deep(size: int) -> bytes:
    return _padded(b'{"model":"fakea","x":', b"", size, b"[")


def duplicates(size: int) -> bytes:
    """Each key twice, so that the slow verdict has to be asked."""
    return _message(b'"Hello"', b',"x":{' + b",".join([b'"k":1'] * ((size - 100) // 6)) + b"}")


def duplicates_in_strings(size: int) -> bytes:
    """What looks like keys inside strings, so that the slow verdict has to be asked of a good body."""
    head, tail = _message(json.dumps('":').encode()[:-1] + b'<here>"').split(b"<here>")
    return _padded(head, tail, size, rb"\\\" :")


def wide_text_like_keys(size: int) -> bytes:
    """The slow verdict on a body whose letters are four bytes wide."""
    head, tail = _message('"\U0001f600\\\\\\":<here>"'.encode()).split(b"<here>")
    return _padded(head, tail, size)


def large_float(size: int) -> bytes:
    """A float that may have lost digits, so that the slow verdict is asked of many values."""
    length = max(1, size // _NODES - 4)
    return _message(b'"Hello"', b',"y":1e300,"x":' + _listed(b'"' + b"s" * length + b'"' for _ in range(_NODES - 10)))


def not_utf8(size: int) -> bytes:
    head, tail = _message(b'"<here>"').split(b"<here>")
    return _padded(head, b"\xff" + tail, size)


_CHAT, _V1 = "/api/chat", "/v1/chat/completions"
SHAPES = {
    "one text": Shape(_CHAT, one_text),
    "one text of wide letters": Shape(_CHAT, wide_text),
    "escaped control characters": Shape(_CHAT, escaped_text),
    "escaped quotes": Shape(_CHAT, lone_escapes),
    "white space": Shape(_CHAT, white_space),
    "many numbers": Shape(_CHAT, many_numbers),
    "many empty objects": Shape(_CHAT, many_empty_objects),
    "many objects of one key": Shape(_CHAT, many_pairs),
    "many keys": Shape(_CHAT, many_keys),
    "many strings": Shape(_CHAT, many_strings),
    "many wide strings": Shape(_CHAT, many_wide_strings),
    "deep": Shape(_CHAT, deep),
    "many messages": Shape(_CHAT, many_messages),
    "many parts": Shape(_V1, many_parts),
    "many parts for Anthropic": Shape("/v1/messages", many_parts_with_a_cap),
    "64 images": Shape(_CHAT, images),
    "many tools": Shape(_CHAT, tools),
    "token ids": Shape("/api/generate", token_ids),
    "2048 inputs": Shape("/api/embed", inputs),
    "too many values": Shape(_CHAT, too_many_values),
    "values in a string": Shape(_CHAT, values_in_a_string),
    "unclosed": Shape(_CHAT, unclosed),
    "too deep": Shape(_CHAT, too_deep),
    "duplicate keys": Shape(_CHAT, duplicates),
    "what looks like keys": Shape(_CHAT, duplicates_in_strings),
    "wide text with what looks like keys": Shape(_CHAT, wide_text_like_keys),
    "a float beyond 64 bits": Shape(_CHAT, large_float),
    "no UTF-8": Shape(_CHAT, not_utf8),
}
