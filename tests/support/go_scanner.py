"""Go's own reading of JSON text (encoding/json scanner.go, decode.go), written down without Python's decoder."""

import re
from typing import Any

DEEPEST = 10_000  # scanner.go maxNestingDepth: one container more is an error
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRING = re.compile(rb'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+)"')
_SPACE = re.compile(rb"[ \t\r\n]*")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_LITERALS = {b"true": True, b"false": False, b"null": None}
_SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_REPLACEMENT = "\ufffd"


class GoError(ValueError):
    """Ollama would answer 400."""


class Object(list[tuple[str, Any]]):
    """An object in the order of the document, duplicates kept."""


class Number:
    """A number as it is written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def integer(self) -> int:
        """As into an int: strconv.ParseInt, so neither a fraction nor an exponent."""
        if not re.fullmatch(r"-?[0-9]+", self.text) or not -(1 << 63) <= int(self.text) < 1 << 63:
            raise GoError(f"cannot unmarshal number {self.text} into Go value of type int")
        return int(self.text)

    @property
    def float64(self) -> float:
        """As into an `any`."""
        value = float(self.text)
        if value in {float("inf"), float("-inf")}:
            raise GoError(f"cannot unmarshal number {self.text} into Go value of type float64")
        return value


def first_value(body: bytes) -> Any:
    """The first value of a text, whatever stands behind it: as json.Decoder reads one.

    Raises GoError: no JSON for Go.
    """
    return _Reading(body).value()


class _Reading:
    """One pass over a text with a stack of its own, since Go goes deeper than Python may."""

    def __init__(self, text: bytes) -> None:
        self._text, self._at = text, 0

    def value(self) -> Any:
        open_values: list[Object | list[Any]] = []
        name, names = "", list[str]()  # the member whose value is read, those of the objects around it
        while True:
            begun = self._begin()
            if begun is not None:
                open_values.append(begun)
                if len(open_values) > DEEPEST:
                    raise GoError("exceeded max depth")
                names.append(name)
                if not self._takes(b"}" if isinstance(begun, Object) else b"]"):
                    name = self._member() if isinstance(begun, Object) else ""
                    continue
                done: Any = open_values.pop()
                name = names.pop()
            else:
                done = self._scalar()
            while open_values:
                holder = open_values[-1]
                holder.append((name, done) if isinstance(holder, Object) else done)
                if self._takes(b","):
                    name = self._member() if isinstance(holder, Object) else ""
                    break
                self._must(b"}" if isinstance(holder, Object) else b"]")
                done, name = open_values.pop(), names.pop()
            else:
                return done

    def _begin(self) -> Object | list[Any] | None:
        if self._takes(b"{"):
            return Object()
        return [] if self._takes(b"[") else None

    def _member(self) -> str:
        self._skip()
        name = self._string()
        if name is None:
            raise GoError(f"invalid character looking for beginning of object key string at {self._at}")
        self._must(b":")
        return name

    def _scalar(self) -> Any:
        self._skip()
        text = self._string()
        if text is not None:
            return text
        for word, value in _LITERALS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise GoError(f"invalid character looking for beginning of value at {self._at}")
        self._at = number.end()
        return Number(number[0].decode())

    def _string(self) -> str | None:
        found = _STRING.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return unquoted(found[1])

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at

    def _takes(self, sign: bytes) -> bool:
        self._skip()
        taken = self._text.startswith(sign, self._at)
        self._at += taken
        return taken

    def _must(self, sign: bytes) -> None:
        if not self._takes(sign):
            raise GoError(f"invalid character, not {sign.decode()}, at {self._at}")


def unquoted(raw: bytes) -> str:
    """The inside of a string as Go keeps it: what is no UTF-8, or half a pair of surrogates, is replaced."""
    text = _decoded(raw)
    if "\\" not in text:
        return text
    units = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _SHORT[found[2]], text)
    paired = units.encode("utf-16-le", "surrogatepass")
    return "".join(_units(paired))


def _units(paired: bytes) -> list[str]:
    text = paired.decode("utf-16-le", "surrogatepass")
    return [_REPLACEMENT if "\ud800" <= character <= "\udfff" else character for character in text]


def _decoded(raw: bytes) -> str:
    """utf8.DecodeRune takes one byte where it finds no rune, so that each byte is replaced by itself."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pieces = raw.decode(errors="surrogateescape")
        return "".join(_REPLACEMENT if "\udc80" <= character <= "\udcff" else character for character in pieces)
