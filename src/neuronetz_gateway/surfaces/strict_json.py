"""Reading a request body as JSON that every decoder understands in one way."""

import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import orjson

from neuronetz_gateway.domain.audit import printable
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.surface import JsonObject

_SHOWN_CHARACTERS = 60
_LONG_BYTES = 1024
_BEYOND_64_BITS = float(1 << 63)
_LEAST_INTEGER, _GREATEST_INTEGER = -(1 << 63), (1 << 64) - 1
_INTEGER_CHARACTERS = 20
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_SPACE_BEFORE_COLON = re.compile(rb'"[ \t\r\n]+:')
# Possessive, with an end that always matches: linear also where a hostile body never closes its string.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def parse(raw: bytes, *, max_depth: int, max_nodes: int) -> JsonObject:
    """The one JSON object that a body is (OLLAMA §4.2 lists what Go's decoder would have let pass).

    Depth counts the containers around the deepest value, nodes count every value of the tree.

    Raises InvalidRequestError: not UTF-8, no JSON, no object, something after it, a duplicate key at any level, a
    number beyond 64 bits or a lone surrogate, too deep or too many values; it says which and where.
    """
    if len(raw) > 2 * max_nodes:  # a value has two bytes at least, its comma or brackets included
        _check_size(raw, max_nodes)
    problem = ""
    try:
        tree = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        problem = str(error)
    if problem:  # raised out here, because the decoder's own error holds the whole body
        raise InvalidRequestError(
            f"The request body is not valid JSON: {problem}."
            if raw
            else "The request body is empty; send a JSON object."
        )
    if type(tree) is not dict:
        raise InvalidRequestError("The body must be one JSON object.")
    keys, doubtful = _measure(tree, max_depth, max_nodes)
    if doubtful or _key_ends(raw) != keys:
        del tree  # or there would be two of them
        check_exactly(raw)
        return orjson.loads(raw)  # type: ignore[no-any-return]  # it was an object the first time
    return tree


def check_exactly(raw: bytes) -> None:
    """The slow verdict on a body that is known to be JSON: names the duplicate key or the number beyond 64 bits.

    Raises InvalidRequestError: there is one.
    """
    try:
        json.loads(_shortened(raw).decode(), object_pairs_hook=_unique, parse_int=_integer)
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None


def _shortened(raw: bytes) -> bytes:
    """The same document with a digest in place of what is long in a string.

    For a text of one letter beyond 16 bits the standard library would hold four copies, each four times the body.
    """
    return b"".join(_shortened_pieces(raw))


def _shortened_pieces(raw: bytes) -> Iterator[bytes]:
    end = 0
    for string in _STRING.finditer(raw):
        if string.end() - string.start() > _LONG_BYTES:
            text: str = orjson.loads(string[0])
            yield raw[end : string.start()]
            yield orjson.dumps(text[:_SHOWN_CHARACTERS] + sha256(text.encode()).hexdigest())
            end = string.end()
    yield raw[end:]


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidRequestError(f"The key {shown(key)} stands twice in one object of the body.")
            seen.add(key)
    return unique


def _integer(text: str) -> int:
    if len(text) > _INTEGER_CHARACTERS or not _LEAST_INTEGER <= int(text) <= _GREATEST_INTEGER:
        raise InvalidRequestError(f"The number {shown(text)} in the body does not fit into 64 bits.")
    return int(text)


def shown(text: str) -> str:
    """A piece of a caller's text as an error may quote it: printable, short."""
    return f"'{printable(text, _SHOWN_CHARACTERS)}'"


def _key_ends(raw: bytes) -> int:
    """How many keys stand in the text of a valid JSON document; -1, or more than there are, where that is not plain.

    A key ends with a quote before a colon. So may an escaped quote inside a string, which is taken off, and a
    string that begins with a colon, which is not: the figure is never below the truth, so if it equals the number
    of keys in the tree, then no key was lost there as a duplicate.
    """
    if b"\\" not in raw:
        return len(_KEY_END.findall(raw))
    if b'\\\\"' in raw or _SPACE_BEFORE_COLON.search(raw):
        return -1
    return raw.count(b'":') - raw.count(b'\\":')


def _measure(tree: JsonObject, max_depth: int, max_nodes: int) -> tuple[int, bool]:
    """The number of keys, and whether a number may have lost digits; level by level, so without recursion."""
    keys = depth = 0
    nodes = 1
    doubtful = False
    level: list[dict[str, Any] | list[Any]] = [tree]
    while level:
        depth += 1
        if depth > max_depth:
            raise InvalidRequestError(f"The body is nested more than {max_depth} levels deep.")
        below: list[dict[str, Any] | list[Any]] = []
        for container in level:
            nodes += len(container)
            values: Iterable[Any] = container
            if type(container) is dict:
                keys += len(container)
                values = container.values()
            for value in values:
                kind = type(value)
                if kind is dict or kind is list:
                    below.append(value)
                elif kind is float and not -_BEYOND_64_BITS < value < _BEYOND_64_BITS:
                    doubtful = True
        if nodes > max_nodes:
            raise _too_many(max_nodes)
        level = below
    return keys, doubtful


def _check_size(raw: bytes, max_nodes: int) -> None:
    """Refuses a body of too many values before it is parsed into many times its size."""
    if max(raw.count(b",") + 1, raw.count(b"[") + raw.count(b"{")) > max_nodes:  # strings may hold them as well
        _check_outside_of_strings(raw, max_nodes)


def _check_outside_of_strings(raw: bytes, max_nodes: int) -> None:
    """Piece by piece, each where it stands: a copy without the strings once cost forty times the body."""
    commas = containers = end = 0
    for strings, string in enumerate(_STRING.finditer(raw)):
        start = string.start()
        commas += raw.count(b",", end, start)
        containers += raw.count(b"[", end, start) + raw.count(b"{", end, start)
        if max(commas + 1, containers, strings // 2) > max_nodes:  # a value has two strings at most: itself, its key
            raise _too_many(max_nodes)
        end = string.end()
    commas += raw.count(b",", end)
    containers += raw.count(b"[", end) + raw.count(b"{", end)
    if max(commas + 1, containers) > max_nodes:
        raise _too_many(max_nodes)


def _too_many(max_nodes: int) -> InvalidRequestError:
    return InvalidRequestError(f"The body holds more than {max_nodes} values.")
