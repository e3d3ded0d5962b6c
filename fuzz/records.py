"""Target: of a stream nothing is left out but what is meant to be, however it arrives."""

import re
from collections.abc import Callable, Iterator

from fuzz.target import Chopped, Target, must, packed
from neuronetz_gateway.surfaces.editing import UsageRemover
from neuronetz_gateway.surfaces.framing import Lines
from neuronetz_gateway.surfaces.whole_records import WholeRecords
from tests.unit.surfaces import recorded, recorded_anthropic, recorded_responses

_HELD_AT_MOST_BYTES = 64 << 10
_LINE_LIMIT_BYTES = 24
_MORE_NEWLINES = re.compile(rb"\n{2,}")

type Passing = Callable[[list[bytes]], bytes]


def records(end: bytes) -> Passing:
    def passing(chunks: list[bytes]) -> bytes:
        whole = WholeRecords(end)
        return b"".join(whole.feed(chunk) for chunk in chunks) + whole.rest()

    return passing


def edited(*, everywhere: bool) -> Passing:
    def passing(chunks: list[bytes]) -> bytes:
        editor = UsageRemover(in_every_record=everywhere)
        return b"".join(editor.feed(chunk) for chunk in chunks) + editor.flush()

    return passing


PASSINGS: tuple[tuple[Passing, bytes, bytes], ...] = (
    (records(b"\n"), b"\n", b"error"),
    (records(b"\n\n"), b"\n\n", b"error"),
    (edited(everywhere=False), b"\n\n", b'"usage"'),
    (edited(everywhere=True), b"\n\n", b'"usage"'),
)
"""How a stream passes, what ends its records, the word without which a record is never touched."""


def passes_alike(kind: int, chopped: Chopped) -> None:
    passing, end, word = PASSINGS[kind % len(PASSINGS)]
    stream, in_pieces = chopped.stream, passing(chopped.chunks())
    if word not in stream:
        must(in_pieces == stream, "bytes were changed")
        return
    if len(stream) <= _HELD_AT_MOST_BYTES:
        must(_is_within(in_pieces, stream), "bytes were added or moved")
    kept = [record for record in stream.split(end) if word not in record and record.strip(b"\n")]
    must(_in_order(kept, in_pieces), "a record that was none of our business is missing")
    if all(len(record) <= _HELD_AT_MOST_BYTES // 2 for record in stream.split(end)):
        whole = passing([stream])
        must(_plain(in_pieces) == _plain(whole), "in pieces", in_pieces, "as a whole", whole)
        if whole == stream:
            must(in_pieces == stream, "bytes were changed in pieces alone")


def _is_within(part: bytes, whole: bytes) -> bool:
    rest: Iterator[int] = iter(whole)
    return all(byte in rest for byte in part)


def _in_order(pieces: list[bytes], text: bytes) -> bool:
    at = 0
    for piece in pieces:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _plain(stream: bytes) -> bytes:
    """How many newlines end a record depends on its neighbours where there are more than two."""
    return _MORE_NEWLINES.sub(b"\n\n", stream).strip(b"\n")


def cuts_alike(chopped: Chopped) -> None:
    whole, pieces = Lines(_LINE_LIMIT_BYTES), Lines(_LINE_LIMIT_BYTES)
    at_once = whole.cut(chopped.stream)
    in_pieces = [line for chunk in chopped.chunks() for line in pieces.cut(chunk)]
    must(in_pieces == at_once, "other lines in pieces")
    must(pieces.rest() == whole.rest(), "another rest in pieces")
    must(pieces.overlong == whole.overlong, "another number of long lines in pieces")
    must(all(len(line) <= _LINE_LIMIT_BYTES for line in at_once), "a line beyond the bound")


def check(data: bytes) -> None:
    chopped = Chopped.of(data)
    if chopped.kind % (len(PASSINGS) + 1) == len(PASSINGS):
        cuts_alike(chopped)
    else:
        passes_alike(chopped.kind % (len(PASSINGS) + 1), chopped)


STREAMS = (
    (recorded.CHAT_NDJSON, recorded.BROKEN_NDJSON, b'{"error":"x"}\n{"done":true}\nerror\n'),
    (recorded_responses.TEXT_SSE, recorded_responses.FAILED_SSE, recorded_anthropic.FAILED_SSE, b"an error\n\n\n"),
    (recorded.OPENAI_SSE, b'data: {"choices":[],"usage":{}}\n\n\ndata: [DONE]\n\n', b'data: "usage"\x0e\n\n'),
    (recorded.COMPLETIONS_SSE,),
    (b"one\n\ntwo and a longer line than is held\nthree", recorded.CHAT_NDJSON[:400]),
)
WORDS = (
    b"data: ", b"\n", b"\n\n", b"\n\n\n", b"\r\n\r\n", b'"error"', b"event: error", b'{"error":{"a":1}}', b'"usage"',
    b'"usage":{}', b',"usage":{"a":1}', b'{"choices":[],"usage":{}}', b'"type":[]', b'"type":"error"', b"\x0e",
    b'"type":"response.failed"', b"{", b"}", b"[DONE]", b"\xff", b"\\u0000",
)  # fmt: skip


def _seeds() -> list[bytes]:
    return [packed(kind, stream) for kind, streams in enumerate(STREAMS) for stream in streams]


TARGET = Target(check, _seeds, WORDS)
