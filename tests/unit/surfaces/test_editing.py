"""A caller who did not ask for usage sees the stream that Ollama would have sent without it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.surfaces.editing import UsageRemover
from tests.unit.surfaces import recorded

STREAMS = [
    pytest.param(False, recorded.OPENAI_SSE, recorded.OPENAI_SSE_WITHOUT_USAGE, id="chat"),
    pytest.param(True, recorded.COMPLETIONS_SSE, recorded.COMPLETIONS_SSE_WITHOUT_USAGE, id="completions"),
    pytest.param(False, recorded.OPENAI_SSE_WITHOUT_USAGE, recorded.OPENAI_SSE_WITHOUT_USAGE, id="nothing to take out"),
]


@pytest.mark.promise("S5")
@pytest.mark.parametrize(("everywhere", "stream", "expected"), STREAMS)
def test_only_the_injected_usage_is_removed_at_every_split(everywhere: bool, stream: bytes, expected: bytes) -> None:
    for cut in range(len(stream) + 1):
        editor = UsageRemover(in_every_record=everywhere)
        assert editor.feed(stream[:cut]) + editor.feed(stream[cut:]) + editor.flush() == expected
    editor = UsageRemover(in_every_record=everywhere)
    assert b"".join(editor.feed(stream[i : i + 1]) for i in range(len(stream))) == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, len(recorded.OPENAI_SSE)), max_size=12))
def test_no_complete_record_is_held_back(cuts: list[int]) -> None:
    stream, editor, fed, got = recorded.OPENAI_SSE, UsageRemover(), b"", b""
    bounds = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(bounds):
        got += editor.feed(stream[start:end])
        fed += stream[start:end]
        complete = fed[: fed.rfind(b"\n\n") + 2] if b"\n\n" in fed else b""
        assert got == complete.replace(recorded.USAGE_RECORD, b"")


def test_records_that_came_together_leave_together() -> None:
    editor = UsageRemover()
    two = recorded.openai_chunk('"content":"a"') * 2
    assert editor.feed(two) is two
    assert editor.feed(two + recorded.USAGE_RECORD + recorded.DONE_RECORD) == two + recorded.DONE_RECORD
    assert editor.feed(recorded.USAGE_RECORD) == b""


def test_a_broken_off_record_leaves_with_the_flush() -> None:
    editor = UsageRemover()
    assert editor.feed(recorded.DONE_RECORD + b"data: {") == recorded.DONE_RECORD
    assert editor.flush() == b"data: {"
    assert editor.flush() == b""


def test_an_endless_record_passes_without_being_held() -> None:
    editor, record = UsageRemover(), b'data: {"choices":[],"usage":{}' + b" " * 400_000 + b"}\n\n"
    got = b""
    for start in range(0, len(record), 1000):
        got += editor.feed(record[start : start + 1000])
        assert start + 1000 - len(got) <= 66_000
    assert got == record
    assert editor.feed(recorded.USAGE_RECORD + recorded.DONE_RECORD) == recorded.DONE_RECORD


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"\n", b"data: ", b'"usage"', b"{}", b"x"]) | st.binary(max_size=4), max_size=30))
def test_garbage_passes_unchanged(pieces: list[bytes]) -> None:
    editor = UsageRemover()
    assert b"".join([editor.feed(piece) for piece in pieces] + [editor.flush()]) == b"".join(pieces)
