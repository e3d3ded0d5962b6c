"""What is handed on of a stream, however it is chopped."""

import random

import pytest

from neuronetz_gateway.surfaces.whole_records import WholeRecords

NATIVE = b'{"message":{"content":"one"},"done":false}\n{"message":{"content":"two"},"done":false}\n'
SSE = b'event: a\ndata: {"x":1}\n\nevent: b\ndata: {"x":"an error"}\n\ndata: [DONE]\n\n'


def passed(end: bytes, chunks: list[bytes]) -> list[bytes]:
    records = WholeRecords(end)
    return [records.feed(chunk) for chunk in chunks]


@pytest.mark.promise("S5")
@pytest.mark.parametrize(("end", "stream"), [(b"\n", NATIVE), (b"\n\n", SSE)])
def test_chopped_anywhere_it_leaves_in_whole_records_unchanged(end: bytes, stream: bytes) -> None:
    chance = random.Random(7)
    for cut in range(len(stream)):
        out = passed(end, [stream[:cut], stream[cut:]])
        assert b"".join(out) == stream
    for _ in range(200):
        cuts = sorted(chance.sample(range(len(stream)), 6))
        chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        out = passed(end, chunks)
        assert b"".join(out) == stream
        assert all(piece.endswith(end) for piece in out if piece)


@pytest.mark.promise("S5")
def test_a_record_leaves_as_soon_as_it_is_complete() -> None:
    assert passed(b"\n\n", [b"data: 1\n", b"\ndata: 2\n\ndata", b": 3\n\n"]) == [
        b"",
        b"data: 1\n\ndata: 2\n\n",
        b"data: 3\n\n",
    ]


def test_half_a_record_stays_until_it_is_asked_for() -> None:
    records = WholeRecords(b"\n")
    assert records.feed(b'{"done":true}') == b""
    assert records.rest() == b'{"done":true}'
    assert records.rest() == b""


@pytest.mark.promise("F3")
@pytest.mark.parametrize("end", [b"\n", b"\n\n"])
def test_ten_megabytes_without_an_end_are_passed_on_not_held(end: bytes) -> None:
    records, out = WholeRecords(end), 0
    stream = b"x" * (10 << 20) + end
    for start in range(0, len(stream), 32 << 10):
        out += len(records.feed(stream[start : start + (32 << 10)]))
        assert start + (32 << 10) - out <= 128 << 10
    assert out == len(stream)


@pytest.mark.parametrize(
    ("end", "failure"),
    [
        (b"\n", b'{"error":"llama runner died at /home/gpu/.ollama"}\n'),
        (b"\n\n", b'data: {"error":{"message":"inner"}}\n\n'),
        (b"\n\n", b'event: error\ndata: {"type":"error","error":{"message":"inner"}}\n\n'),
        (b"\n\n", b"event: error\ndata: inner\n\n"),
        (b"\n\n", b'event: response.failed\ndata: {"response":{"error":{"code":"x"}},"type":"response.failed"}\n\n'),
    ],
)
def test_the_upstreams_own_words_of_failure_are_left_out(end: bytes, failure: bytes) -> None:
    """Ollama's line passed through to the caller, paths of its host and all, before the gateway's own."""
    before = b'{"done":false}' + end
    assert b"".join(passed(end, [before + failure])) == before
    for cut in range(1, len(failure)):
        assert b"".join(passed(end, [before, failure[:cut], failure[cut:]])) == before


@pytest.mark.parametrize(
    "record",
    [
        b'data: {"choices":[{"delta":{"content":"error: \\"error\\""}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{\\"error\\":1}"}}]}}]}\n\n',
        b'event: response.created\ndata: {"response":{"error":null},"type":"response.created"}\n\n',
        b'data: {"error":null,"choices":[]}\n\n',
    ],
)
def test_an_answer_may_speak_of_errors(record: bytes) -> None:
    assert passed(b"\n\n", [record]) == [record]
