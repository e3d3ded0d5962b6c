"""The bound of a prompt on /v1/messages is never below its tokens, nor is an image paid by its bytes."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.surfaces.anthropic import MESSAGES
from neuronetz_gateway.surfaces.surface import RequestRules

RULES = RequestRules(template_tokens=1000, image_tokens=4096)
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 30_000).decode()
WAVE = base64.b64encode(b"RIFF\0\0\0\0WAVE" + b"\0" * 30_000).decode()
OVERHEAD_BYTES = 300  # the JSON around the texts of these requests
TEXT = {"type": "text", "text": "x"}


def bound(content: Any, rules: RequestRules = RULES, **extra: Any) -> int:
    assert MESSAGES.inference is not None
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": content}], **extra}
    return MESSAGES.inference.read(body, rules).prompt_bound_tokens


def image(data: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
@pytest.mark.promise("B1")
def test_the_bound_covers_every_byte_of_the_texts(texts: list[str]) -> None:
    texts = [text.encode(errors="replace").decode() for text in texts]
    size = sum(len(text.encode()) for text in texts)
    blocks = [{"type": "text", "text": text} for text in texts]
    assert bound(blocks) >= size + 16 * (len(texts) + 2) + 1000
    assert bound("".join(texts)) >= size + 2 * 16 + 1000
    assert bound("x", system=blocks) >= size + 1000
    assert bound([{"type": "tool_result", "tool_use_id": "1", "content": blocks}]) >= size + 16 * len(texts) + 1000


def test_an_image_counts_as_its_own_bound_wherever_it_stands() -> None:
    for content in ([TEXT, image(PNG)], [{"type": "tool_result", "tool_use_id": "1", "content": [image(PNG)]}]):
        assert 1000 + 4096 < bound(content) < 1000 + 4096 + OVERHEAD_BYTES
    assert 1000 + 3 * 4096 < bound([image(PNG)] * 3) < 1000 + 3 * 4096 + 3 * OVERHEAD_BYTES


@pytest.mark.promise("B1")
@pytest.mark.parametrize("data", [WAVE, "x" * 40_000, "\n" + PNG])
def test_what_is_no_image_in_the_place_of_one_counts_with_its_bytes(data: str) -> None:
    assert bound([image(data)]) >= 40_000 + 4096


@pytest.mark.promise("B1")
@pytest.mark.parametrize(
    "block",
    [
        TEXT | {"source": {"type": "base64", "data": PNG}},
        {"type": "tool_use", "id": "1", "name": "f", "input": image(PNG)},
        {"type": "tool_result", "content": [{"type": "tool_result", "content": [image(PNG)]}]},
        {"type": "tool_result", "content": [{"Type": "image", "source": {"type": "base64", "data": PNG}}]},
    ],
)
def test_only_what_ollama_reads_as_an_image_is_one(block: dict[str, Any]) -> None:
    assert bound([block]) >= len(PNG) + 1000


@pytest.mark.promise("B1")
def test_signs_that_go_writes_out_in_json_count_as_long_as_they_become() -> None:
    signs = "<>&" * 1000
    cases: list[tuple[list[Any], dict[str, Any]]] = [
        ([TEXT], {"tools": [{"name": "f", "description": signs, "input_schema": {}}]}),
        ([{"type": "tool_use", "id": "1", "name": "f", "input": {"x": signs}}], {}),
        ([{"type": "server_tool_use", "id": "1", "name": "f", "input": {"x": signs}}], {}),
        ([{"type": "web_search_tool_result", "content": {"x": signs}}], {}),
    ]
    for blocks, extra in cases:
        assert bound(blocks, **extra) >= 18_000 + 1000
    assert bound(signs) < 3000 + 1000 + OVERHEAD_BYTES


@pytest.mark.promise("B1")
def test_tools_without_anything_in_them_count_as_what_ollama_makes_of_them() -> None:
    """Found by reading: of {} it makes a hundred bytes of names, so that ten thousand of them passed their bound."""
    made = len(
        '{"type":"function","function":{"name":"","description":"","parameters":{"type":"","properties":null}}},'
    )
    assert bound("x", tools=[{}] * 10_000) >= 10_000 * made + 1000


def test_a_tool_that_is_left_out_does_not_count() -> None:
    assert bound("x", tools=[{"type": "web_search_20250305", "name": "y" * 5000}]) == bound("x")


def test_no_prompt_is_longer_than_what_the_model_holds() -> None:
    known = RequestRules(facts_of=lambda _: ModelFacts(template_tokens=10, context_tokens=2048))
    assert bound("x" * 10_000, known) == 2048
    small = bound("x", known)
    body = {"model": "m:latest", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    assert small == len(orjson.dumps(body)) + 2 * 16 + 10
