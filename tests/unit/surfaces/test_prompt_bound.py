"""The bound of a prompt is never below its tokens, nor is an image paid by its bytes."""

import base64
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.surfaces import ollama, openai
from neuronetz_gateway.surfaces.anthropic import MESSAGES
from neuronetz_gateway.surfaces.responses import RESPONSES
from neuronetz_gateway.surfaces.surface import Endpoint, RequestRules

RULES = RequestRules(template_tokens=1000, image_tokens=4096)
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 30_000).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"\0" * 30_000).decode()
WEBP = base64.b64encode(b"RIFF\0\0\0\0WEBP" + b"\0" * 30_000).decode()
WAVE = base64.b64encode(b"RIFF\0\0\0\0WAVE" + b"\0" * 30_000).decode()
OVERHEAD_BYTES = 200  # the JSON around the texts of these requests


def bound(endpoint: Endpoint, body: dict[str, Any]) -> int:
    assert endpoint.inference is not None
    return endpoint.inference.read({"model": "m"} | body, RULES).prompt_bound_tokens


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
@pytest.mark.promise("B1")
def test_the_bound_covers_every_byte_of_the_texts(texts: list[str]) -> None:
    size = sum(len(text.encode(errors="replace")) for text in texts)
    texts = [text.encode(errors="replace").decode() for text in texts]
    messages = [{"role": "user", "content": text} for text in texts]
    for endpoint in (ollama.CHAT, openai.CHAT_COMPLETIONS):
        assert bound(endpoint, {"messages": messages}) >= size + 16 * len(texts) + 1000
    assert bound(ollama.GENERATE, {"prompt": "".join(texts), "system": texts[0]}) >= size + 16 + 1000
    for endpoint in (ollama.EMBED, openai.EMBEDDINGS):
        assert size + 16 * len(texts) <= bound(endpoint, {"input": texts})
    assert bound(ollama.EMBED, {"input": texts[0]}) == len(orjson.dumps(texts[0])) + 16


def test_everything_that_reaches_the_model_is_covered() -> None:
    for field in ("tools", "format", "suffix", "system", "context", "response_format"):
        plain = bound(ollama.CHAT, {"messages": [{"content": "x"}]})
        assert bound(ollama.CHAT, {"messages": [{"content": "x"}], field: "y" * 5000}) >= plain + 5000


def test_dropped_fields_do_not_count() -> None:
    plain = bound(ollama.GENERATE, {"prompt": "x"})
    assert bound(ollama.GENERATE, {"prompt": "x", "template": "y" * 5000, "raw": True}) == plain


@pytest.mark.parametrize("image", [PNG, JPEG, WEBP])
def test_an_image_counts_as_its_own_bound_wherever_it_stands(image: str) -> None:
    native = bound(ollama.CHAT, {"messages": [{"content": "x", "images": [image, image]}]})
    assert 1000 + 2 * 4096 < native < 1000 + 2 * 4096 + OVERHEAD_BYTES
    assert 1000 + 4096 < bound(ollama.GENERATE, {"prompt": "x", "images": [image]}) < 1000 + 4096 + OVERHEAD_BYTES
    url = f"data:image/png;base64,{image}"
    for source in (url, {"url": url}):
        parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": source}]
        openai_bound = bound(openai.CHAT_COMPLETIONS, {"messages": [{"role": "user", "content": parts}]})
        assert 1000 + 4096 < openai_bound < 1000 + 4096 + OVERHEAD_BYTES


@pytest.mark.parametrize(
    "source", [WAVE, "x" * 40_000, "é" * 40_000, "\n" + PNG, base64.b64encode(b"\0" * 30_000).decode()]
)
@pytest.mark.promise("B1")
def test_what_is_no_image_in_the_place_of_one_counts_with_its_bytes(source: str) -> None:
    assert bound(ollama.CHAT, {"messages": [{"content": "x", "images": [source]}]}) >= 40_000 + 4096
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{source}"}}
    assert bound(openai.CHAT_COMPLETIONS, {"messages": [{"content": [part]}]}) >= 40_000 + 4096


@pytest.mark.promise("B1")
def test_an_image_in_the_place_of_sound_counts_as_the_image_that_ollama_makes_of_it() -> None:
    """Ollama puts `input_audio` among a message's images, whatever it is: 472 bytes of base64, a picture of 1500x1500,
    were bounded by their bytes alone. Sound has more tokens the longer it is: its bytes count as well."""
    for source, least in ((PNG, 0), (JPEG, 0), (WEBP, 0), (WAVE, len(WAVE)), ("x" * 40_000, 40_000)):
        part = {"type": "input_audio", "input_audio": {"data": source, "format": "wav"}}
        body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]}
        most = least + 1000 + 4096 + 2 * OVERHEAD_BYTES  # one for each part
        assert least + 1000 + 4096 < bound(openai.CHAT_COMPLETIONS, body) < most


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "text", "input_audio": {"data": PNG}},
        {"type": "input_audio", "Input_audio": {"data": PNG}},
        {"type": [], "input_audio": {"data": PNG}},
        {"type": "image_url", "Image_url": PNG},
    ],
)
def test_only_what_ollama_reads_as_an_image_is_one(part: object) -> None:
    assert bound(openai.CHAT_COMPLETIONS, {"messages": [{"content": [part]}]}) >= len(PNG) + 1000


def test_each_part_of_a_message_counts_as_a_message_which_ollama_makes_of_it() -> None:
    parts = [{"type": "text", "text": "x"}] * 100
    body = {"messages": [{"role": "user", "content": parts}]}
    assert bound(openai.CHAT_COMPLETIONS, body) >= len(orjson.dumps(body)) + 101 * 16 + 1000


@pytest.mark.promise("B1")
def test_signs_that_go_writes_out_in_tools_count_as_long_as_they_become() -> None:
    """Found by reading: Go's JSON makes six characters of each <, so that a tool described in them passed its bound."""
    for signs, length in (("<>&" * 1000, 18_000), ("\u2028" * 1000, 6000), ("\b\f" * 1000, 12_000)):
        tools = [{"type": "function", "function": {"name": "f", "description": signs}}]
        messages = [{"role": "user", "content": "x"}]
        assert bound(ollama.CHAT, {"messages": messages, "tools": tools}) >= length + 1000
        called = [{"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": {"x": signs}}}]}]
        assert bound(openai.CHAT_COMPLETIONS, {"messages": called}) >= length + 1000
    floats = [{"function": {"parameters": {"enum": [1e20] * 1000}}}]
    assert bound(ollama.CHAT, {"messages": messages, "tools": floats}) >= 22_000 + 1000
    texts = bound(ollama.CHAT, {"messages": [{"content": "<" * 1000}]})
    assert texts < 1000 + 1000 + OVERHEAD_BYTES


@pytest.mark.promise("B1")
@pytest.mark.parametrize("number", ["1e20", "1E20", "9.5E+19"])
def test_floats_in_arguments_that_are_a_text_count_as_long_as_go_writes_them(number: str) -> None:
    """A large E in the text of the arguments was no float to the bound, though Go makes 21 digits of it as well."""
    arguments = '{"x":[' + ",".join([number] * 1000) + "]}"
    called = [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}]
    assert bound(openai.CHAT_COMPLETIONS, {"messages": called}) >= 22_000 + 1000
    item = {"type": "function_call", "call_id": "1", "name": "f", "arguments": arguments}
    assert bound(RESPONSES, {"input": [item]}) >= 22_000 + 1000


@pytest.mark.promise("B1")
def test_a_role_counts_once_for_each_part_that_ollama_makes_a_message_of_it() -> None:
    """A role of 10 kB over a thousand parts was 40 kB of a body, in the prompt of some models ten megabytes."""
    message = {"role": "r" * 10_000, "content": [{"type": "text", "text": "x"}] * 1000}
    assert bound(openai.CHAT_COMPLETIONS, {"messages": [message]}) >= 10_000 * 1000


@pytest.mark.promise("B1")
def test_the_name_of_a_tool_counts_again_with_each_of_its_results() -> None:
    """Ollama finds the name of a result by the id of its call: a thousand short ones brought a thousand long names."""
    name, again = "n" * 10_000, 1000
    native = {"id": "1", "function": {"name": name, "arguments": {}}}
    typed = {"id": "1", "function": {"name": name, "arguments": "{}"}}
    result = {"role": "Tool", "tool_call_id": "1", "content": "x"}
    for endpoint, call in ((ollama.CHAT, native), (openai.CHAT_COMPLETIONS, typed)):
        messages = [{"role": "assistant", "tool_calls": [call]}, *[result] * again]
        assert bound(endpoint, {"messages": messages}) >= len(name) * again
    items = [{"type": "function_call", "call_id": "1", "name": name, "arguments": "{}"}]
    items += [{"type": "function_call_output", "call_id": "1", "output": "x"}] * again
    assert bound(RESPONSES, {"input": items}) >= len(name) * again
    blocks = [{"type": "tool_use", "id": "1", "name": name, "input": {}}]
    blocks += [{"type": "tool_result", "tool_use_id": "1", "content": "x"}] * again
    assert bound(MESSAGES, {"max_tokens": 5, "messages": [{"role": "user", "content": blocks}]}) >= len(name) * again


@pytest.mark.promise("B1")
def test_each_property_of_a_tool_may_become_elements_of_its_own() -> None:
    """Found by reading renderers/qwen3coder.go: nine bytes of a property become some thirteen tokens of tags."""
    properties: dict[str, Any] = {f"p{number:03}": {} for number in range(1000)}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": properties}}}
    written = "".join(f"\n<parameter>\n<name>{name}</name>\n</parameter>" for name in properties)
    tokens = len(re.findall(r"<|/|>|\w+|\n", written))  # each of them a token, as most tokenizers have it
    assert bound(ollama.CHAT, {"messages": [{"content": "x"}], "tools": [tool]}) >= tokens


def bound_with(facts: ModelFacts, endpoint: Endpoint, body: dict[str, Any]) -> int:
    assert endpoint.inference is not None
    rules = RequestRules(template_tokens=1000, image_tokens=4096, facts_of={"m:latest": facts}.get)
    return endpoint.inference.read({"model": "m"} | body, rules).prompt_bound_tokens


@pytest.mark.promise("B1")
def test_what_is_known_of_the_model_stands_in_the_place_of_the_default() -> None:
    facts = ModelFacts(template_tokens=20_000)
    for endpoint, body in (
        (ollama.CHAT, {"messages": [{"content": "x"}]}),
        (ollama.GENERATE, {"prompt": "x"}),
        (openai.CHAT_COMPLETIONS, {"messages": [{"content": "x"}]}),
    ):
        assert bound_with(facts, endpoint, body) == bound(endpoint, body) + 19_000


def test_nothing_passes_the_context_where_it_is_known_images_included() -> None:
    facts = ModelFacts(template_tokens=1000, context_tokens=4096)
    for endpoint, body in (
        (ollama.CHAT, {"messages": [{"content": "x" * 50_000}]}),
        (ollama.CHAT, {"messages": [{"content": "x", "images": [PNG, PNG]}]}),
        (ollama.GENERATE, {"prompt": "x", "images": [JPEG] * 9}),
        (ollama.EMBED, {"input": "x" * 50_000}),
        (ollama.EMBEDDINGS, {"prompt": "x" * 50_000}),
    ):
        assert bound_with(facts, endpoint, body) == 4096
    inputs = ["x" * 50_000, "x" * 100, "x" * 50_000]
    assert bound_with(facts, ollama.EMBED, {"input": inputs}) == 2 * 4096 + 102 + 16


def test_the_one_text_of_the_older_embeddings_counts_its_bytes() -> None:
    assert bound(ollama.EMBEDDINGS, {"prompt": "ü" * 100}) == 200 + 2 + 16


def test_tools_without_anything_in_them_count_as_what_ollama_makes_of_them() -> None:
    """Ten thousand tools `{}` are 30 kB of a body; written out in Ollama's own form they passed the bound by far."""
    messages = [{"role": "user", "content": "x"}]
    made = len('{"type":"","function":{"name":"","description":"","parameters":{"type":"","properties":null}}}')
    for endpoint in (ollama.CHAT, openai.CHAT_COMPLETIONS):
        assert bound(endpoint, {"messages": messages, "tools": [{}] * 10_000}) >= 10_000 * made
    calls = [{"role": "assistant", "tool_calls": [{}] * 10_000}, *messages]
    assert bound(ollama.CHAT, {"messages": calls}) >= 10_000 * made
