"""Request bodies bent in every way that two JSON decoders might read differently."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# A tree whose keys and scalars are the very bytes of the document, so that everything can be spelled wrongly.
type Token = bytes
type Members = list[tuple[Token, "Node"]]


@dataclass(slots=True)
class ObjectNode:
    members: Members


@dataclass(slots=True)
class ArrayNode:
    items: list["Node"]


type Node = ObjectNode | ArrayNode | Token

POLICED = (
    "model", "name", "stream", "options", "num_predict", "num_ctx", "num_gpu", "num_keep", "repeat_last_n",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "keep_alive", "raw", "template", "shift",
    "_debug_render_only", "stream_options", "include_usage", "messages", "prompt", "input", "content", "role",
    "images", "format", "response_format", "tools", "tool_calls", "system", "instructions", "suffix", "type", "text",
    "previous_response_id", "context", "logprobs", "top_logprobs", "truncate", "think", "source", "image_url",
    "input_schema", "parameters", "verbose",
)  # fmt: skip
MODELS = (
    "fakea", "FAKEA", "fakea:latest", "fakeb", "library/fakea", "registry.ollama.ai/library/FakeA:Latest", " fakea",
    "fakea:cloud", "fakea:8b-cloud", "fakea:local", "https://registry.ollama.ai/fakea", "", "fake\u0061", "f\u00e4kea",
)  # fmt: skip
NUMBERS = (
    b"0", b"-0", b"1", b"-1", b"-2", b"5", b"100", b"1e3", b"1E3", b"1e-3", b"1.0", b"1.5", b"-1.5", b"0.0",
    b"2147483648", b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"-9223372036854775809", b"1e18", b"1e19", b"1e308", b"1e309", b"-1e400", b"1e-400",
    b"01", b"+1", b".5", b"1.", b"1e", b"0x10", b"1_000", b"NaN", b"Infinity", b"-Infinity", b"-", b"1e+2",
)  # fmt: skip
SCALARS = (
    b"null", b"true", b"false", b'""', b'"x"', b'"true"', b'"5"', b"[]", b"{}", b"[[]]", b"[null]", b"[{}]", b"[1,2]",
    b'["a","b"]', b'{"type":"json_object"}', b'"5m"', b"TRUE", b"nil", b"'x'", b"undefined", b'[{"type":"web_search"}]',
    b'{"num_predict":-1,"num_ctx":1000000}', b'{"include_usage":false}', b'[{"role":"user","content":"b"}]',
    b'{"num_predict":7}', b'{"Num_Predict":7}',
)  # fmt: skip
STRINGS = (
    b'"\\ud800"', b'"\\udc00x"', b'"\\ud83d\\ude00"', b'"\\ud800\\ud800"', b'"\\u0000"', b'"\\u0008\\f\\b"',
    b'"\xff\xfe"', b'"\xed\xa0\x80"',
    b'"\xc0\xaf"', b'"a\\/b"', b'"\\x41"', b'"\\u12g4"', b'"a\nb"', b'"a\tb"', b'"\x00"', b'"\\"',
    b'"\xe2\x80\xa8"', b'"\xf4\x90\x80\x80"', b'"\\u00e4"', b'"\x7f"', b'"\xef\xbb\xbf"',
)  # fmt: skip
SPACES = (
    b" ",
    b"\t",
    b"\r\n",
    b"\n",
    b"\x0b",
    b"\x0c",
    b"\xc2\xa0",
    b"\xe2\x80\xa8",
    b"\x00",
    b"/**/",
    b"//\n",
    b"#\n",
)
TAILS = (b"{}", b"garbage", b"\x00", b'{"model":"fakeb"}', b"]", b"}", b",", b"\n\n", b"null", b"\xff", b"\xef\xbb\xbf")
HEADS = (b"\xef\xbb\xbf", b"\xff\xfe", b" ", b"\n\t", b"\x00", b"[", b",", b"null", b"{}", b"\x1e", b")]}',\n")
BESIDE = (b" ", b"\\u0000", b"\\ud800", b"\xcc\x81", b"\xff")
SPELLINGS: tuple[Callable[[Token], Token], ...] = (
    bytes.upper,
    bytes.title,
    bytes.swapcase,
    lambda name: name.replace(b"s", "\u017f".encode(), 1).replace(b"k", "\u212a".encode(), 1),
    lambda name: name.replace(b"s", b"\\u017F", 1).replace(b"k", b"\\u212A", 1),
)


def token(value: str) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="surrogatepass")


def node_of(value: Any) -> Node:
    if isinstance(value, dict):
        return ObjectNode([(token(name), node_of(item)) for name, item in value.items()])
    if isinstance(value, list):
        return ArrayNode([node_of(item) for item in value])
    return json.dumps(value, ensure_ascii=False).encode()


def written(node: Node, space: Callable[[], bytes]) -> bytes:
    if isinstance(node, bytes):
        return node
    if isinstance(node, ArrayNode):
        return b"[" + b",".join(space() + written(item, space) + space() for item in node.items) + b"]"
    members = (space() + name + space() + b":" + space() + written(item, space) for name, item in node.members)
    return b"{" + b",".join(members) + space() + b"}"


class Mutator:
    """A stream of bent bodies: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def bodies(self, valid: list[dict[str, Any]], count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield self.bent(self._dice.choice(valid))

    @staticmethod
    def as_written(body: dict[str, Any]) -> bytes:
        """A body with nothing bent."""
        return written(node_of(body), lambda: b"")

    def bent(self, body: dict[str, Any]) -> bytes:
        dice = self._dice
        root = node_of(body)
        for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            root = self._bend(root)
        hostile_space = dice.random() < 0.05
        written_body = written(root, lambda: self._space(hostile=hostile_space))
        for _ in range(dice.choice((0, 0, 0, 0, 0, 0, 1, 2))):
            written_body = self._garble(written_body)
        return written_body

    def _space(self, *, hostile: bool) -> bytes:
        if hostile and self._dice.random() < 0.2:
            return self._dice.choice(SPACES)
        return self._dice.choice((b"", b"", b"", b"", b"", b"", b" ", b"\n"))

    # --- bending the tree

    def _bend(self, root: Node) -> Node:
        dice = self._dice
        places = [node for node in _containers(root) if not isinstance(node, bytes)]
        if not places or dice.random() < 0.01:
            return dice.choice((root, ArrayNode([root]), b"null", b'"x"', ObjectNode([])))
        chosen = places[0] if dice.random() < 0.5 else dice.choice(places)
        if isinstance(chosen, ArrayNode):
            self._bend_array(chosen)
        else:
            bend = dice.choice((
                self._duplicate, self._misspell, self._add_policed, self._add_policed, self._revalue, self._revalue,
                self._remove, self._shuffle, self._deepen, self._model,
            ))  # fmt: skip
            bend(chosen)
        return root

    def _bend_array(self, node: ArrayNode) -> None:
        dice = self._dice
        how = dice.randrange(4)
        if how == 0 or not node.items:
            node.items.insert(dice.randrange(len(node.items) + 1), self._value())
        elif how == 1:
            node.items.pop(dice.randrange(len(node.items)))
        elif how == 2:
            node.items *= 2
        else:
            node.items[dice.randrange(len(node.items))] = self._value()

    def _duplicate(self, node: ObjectNode) -> None:
        if not node.members:
            return
        name, value = self._dice.choice(node.members)
        if self._dice.random() < 0.5:
            name = self._spelled(name)
        value = value if self._dice.random() < 0.3 else self._value()
        node.members.insert(self._dice.randrange(len(node.members) + 1), (name, value))

    def _misspell(self, node: ObjectNode) -> None:
        if node.members:
            at = self._dice.randrange(len(node.members))
            name, value = node.members[at]
            node.members[at] = (self._spelled(name), value)

    def _add_policed(self, node: ObjectNode) -> None:
        name = token(self._dice.choice(POLICED))
        if self._dice.random() < 0.3:
            name = self._spelled(name)
        if self._dice.random() < 0.7:  # else it may be a duplicate
            node.members = [member for member in node.members if member[0] != name]
        node.members.insert(self._dice.randrange(len(node.members) + 1), (name, self._value()))

    def _revalue(self, node: ObjectNode) -> None:
        if node.members:
            at = self._dice.randrange(len(node.members))
            node.members[at] = (node.members[at][0], self._value())

    def _remove(self, node: ObjectNode) -> None:
        if node.members:
            node.members.pop(self._dice.randrange(len(node.members)))

    def _shuffle(self, node: ObjectNode) -> None:
        self._dice.shuffle(node.members)

    def _deepen(self, node: ObjectNode) -> None:
        if node.members:
            at = self._dice.randrange(len(node.members))
            name, value = node.members[at]
            for _ in range(self._dice.choice((1, 2, 70))):
                value = ArrayNode([value]) if self._dice.random() < 0.5 else ObjectNode([(b'"x"', value)])
            node.members[at] = (name, value)

    def _model(self, node: ObjectNode) -> None:
        node.members = [
            (name, token(self._dice.choice(MODELS)) if name == b'"model"' else value) for name, value in node.members
        ]

    def _value(self) -> Node:
        kind = self._dice.randrange(10)
        if kind < 4:
            return self._dice.choice(NUMBERS)
        if kind < 8:
            return self._dice.choice(SCALARS)
        if kind == 8:
            return self._dice.choice(STRINGS)
        return token(self._dice.choice(MODELS))

    def _spelled(self, name: Token) -> Token:
        """A key in another case, with a letter that folds, with an escape, with something beside it."""
        if self._dice.random() < 0.3:
            at = self._dice.randrange(1, max(2, len(name) - 1))
            return name[:at] + b"\\u%04x" % name[at] + name[at + 1 :] if name[at] < 0x80 else name
        if self._dice.random() < 0.3:
            return name[:-1] + self._dice.choice(BESIDE) + b'"'
        return self._dice.choice(SPELLINGS)(name)

    def _garble(self, body: bytes) -> bytes:
        dice = self._dice
        at, some = dice.randrange(len(body) + 1), bytes([dice.randrange(256)])
        end = min(len(body), at + dice.randrange(1, 20))
        encoding = dice.choice(("utf-16", "utf-16-le", "utf-32", "latin-1"))
        return dice.choice((
            body + dice.choice(TAILS),
            dice.choice(HEADS) + body,
            body[:at],
            body[:at] + some + body[at:],
            body[:at] + body[at + 1 :],
            body[:at] + some + body[at + 1 :],
            body[:end] + body[at:end] + body[end:],
            body[:at] + dice.choice((*SPACES, b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]")) + body[at:],
            body.decode(errors="replace").encode(encoding, "replace"),
        ))  # fmt: skip


def _containers(node: Node) -> Iterator[Node]:
    if isinstance(node, ObjectNode):
        yield node
        for _, value in node.members:
            yield from _containers(value)
    elif isinstance(node, ArrayNode):
        yield node
        for item in node.items:
            yield from _containers(item)


def smallest(body: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """A shorter body that fails as well: pieces are taken out, large ones first, as long as it does."""
    size = max(1, len(body) // 2)
    while size:
        at = 0
        while at < len(body):
            shorter = body[:at] + body[at + size :]
            if fails(shorter):
                body = shorter
            else:
                at += size
        size //= 2
    return body
