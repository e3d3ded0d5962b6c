"""A Responses request goes up as it was checked: nothing of it is lost without a word, nothing runs for the server."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.errors import BudgetExceededError, InvalidRequestError
from neuronetz_gateway.surfaces.catalog import surface_of
from neuronetz_gateway.surfaces.openai import OPENAI
from neuronetz_gateway.surfaces.responses import RESPONSES
from neuronetz_gateway.surfaces.surface import Call, Inference, RequestRules

RULES = RequestRules(template_tokens=1000, image_tokens=4096)
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 30_000).decode()
MESSAGE = {"role": "user", "content": "hello"}
BODY = {"model": "smollm2", "input": "hello"}


def inference() -> Inference:
    assert RESPONSES.inference is not None
    return RESPONSES.inference


def read(**fields: Any) -> Call:
    return inference().read(BODY | fields, RULES)


def sent(granted: int = 100, **fields: Any) -> dict[str, Any]:
    value = orjson.loads(inference().write(read(**fields), granted))
    assert isinstance(value, dict)
    return value


def refusal(**fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        read(**fields)
    return caught.value


def items(*values: Any) -> dict[str, Any]:
    return {"input": list(values)}


ITEMS = [
    MESSAGE,
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
    {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "auto"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}]},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "hm"},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "x"},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
]
PASSING: dict[str, Any] = {
    "instructions": "Be brief.",
    "store": True,
    "metadata": {"a": "b"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "truncation": "auto",
    "temperature": 0.5,
    "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}, "verbosity": "low"},
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "background": False,
}


def test_what_ollama_understands_or_ignores_without_harm_passes() -> None:
    assert sent(**PASSING, **items(*ITEMS)).items() >= (PASSING | items(*ITEMS)).items()
    assert read(**PASSING, **items(*ITEMS)).adjusted == ()


@pytest.mark.promise("N6")
@pytest.mark.parametrize(("fields", "asked"), [({}, None), ({"max_output_tokens": 7}, 7), ({"max_tokens": 9}, None)])
def test_the_cap_is_written_where_ollama_obeys_it(fields: dict[str, int], asked: int | None) -> None:
    assert read(**fields).output_asked_tokens == asked
    assert sent(5, **fields)["max_output_tokens"] == 5
    for granted in (0, -1):
        with pytest.raises(ValueError, match="would not bind"):
            inference().write(read(**fields), granted)


def test_it_streams_only_on_request() -> None:
    assert read().streamed is False
    assert read(stream=True).streamed is True
    assert inference().new_editor(read(stream=True)) is None


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "background", "prompt"])
def test_what_ollama_would_ignore_with_the_callers_context_is_refused(field: str) -> None:
    for value in ("resp_1", {"id": "conv_1"}, True):
        error = refusal(**{field: value})
        assert error.field == field
        assert "not supported" in error.message
    nothing: dict[str, Any] = {field: None}
    assert field not in sent(**nothing)
    read(**{field: False})


@pytest.mark.promise("N6")
@pytest.mark.parametrize("kind", ["mcp", "file_search", "code_interpreter", "Function", "image_generation"])
def test_only_the_callers_own_tools_go_up(kind: str) -> None:
    """A later Ollama may run them, with the operator's account; this one would pass over them."""
    own = {"type": "function", "name": "f", "parameters": {}}
    call = read(tools=[own, {"type": kind, "server_url": "https://mcp.example"}])
    assert call.body["tools"] == [own]
    assert call.adjusted == ("tools",)


def test_no_search_of_the_web_goes_up() -> None:
    function = {"type": "function", "name": "f"}
    searches = [{"type": kind} for kind in ("web_search", "web_search_preview", " Web_Search", "web_fetch_2026")]
    call = read(tools=[*searches, function])
    assert call.adjusted == ("tools",)
    assert call.body["tools"] == [function]
    assert "tools" not in sent(tools=searches)
    assert sent(tools=[function, {"type": "custom"}])["tools"] == [function, {"type": "custom"}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": ""}, "'input' is missing or empty"),
        ({"input": []}, "'input' is missing or empty"),
        ({"input": None}, "'input' is missing or empty"),
        (items({"type": "reasoning", "summary": []}), "'input' holds no message"),
        (items({"type": "reasoning", "encrypted_content": ""}), "'input' holds no message"),
        # Ollama keeps that of the last alone, which is empty: found by reading, it would have loaded the model
        (items(*({"type": "reasoning", "encrypted_content": text} for text in ("hm", ""))), "'input' holds no message"),
        ({"input": 5}, "'input' must be a string or a list of items."),
        (items("x"), "'input[0]' must be an object."),
        (items({"role": "user", "content": 5}), "'input[0].content' must be a string or a list of parts."),
        (items({"role": "user", "content": ["x"]}), "'input[0].content[0]' must be an object."),
        (items({"role": "user", "content": [{"image_url": {"url": PNG}}]}), "must be a data URL"),
        (items({"role": "user", "content": [{"image_url": "https://x/y.png"}]}), "must be a data URL"),
        (items({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}), "file_id' is not supported"),
        (items({"type": "function_call_output", "output": {}}), "'input[0].output' must be a string or a list"),
        (items({"type": "function_call", "arguments": {}}), "'input[0].arguments' must be a string."),
        ({"instructions": []}, "'instructions' must be a string."),
        ({"max_output_tokens": 0}, "'max_output_tokens' must be a whole number greater than 0."),
        ({"max_output_tokens": "5"}, "'max_output_tokens' must be a whole number greater than 0."),
        ({"stream": "true"}, "'stream' must be true or false."),
        ({"text": "json"}, "'text' must be an object."),
        ({"tools": {}}, "'tools' must be a list of objects."),
        ({"tools": ["web_search"]}, "'tools[0]' must be an object."),
        ({"tools": [{"type": 5}]}, "'tools[0].type' must be a string."),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named_with_its_mend(fields: dict[str, Any], message: str) -> None:
    assert message in refusal(**fields).message


@pytest.mark.promise("N3")
@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"Input": "x"}, "input"),
        ({"Max_Output_Tokens": 5}, "max_output_tokens"),
        ({"TOOLS": [{"type": "web_search"}]}, "tools"),
        ({"tool\u017f": []}, "tools"),
        ({"tools": [{"Type": "web_search"}]}, "tools[0].type"),
        ({"Previous_Response_Id": "x"}, "previous_response_id"),
        ({"text": {"Format": {}}}, "text.format"),
        (items({"role": "user", "Content": "x"}), "input[0].content"),
        (items({"role": "user", "content": [{"Type": "input_image"}]}), "input[0].content[0].type"),
        (items({"role": "user", "content": [{"Image_URL": PNG}]}), "input[0].content[0].image_url"),
        (items({"type": "function_call_output", "Output": "x"}), "input[0].output"),
    ],
)
def test_a_spelling_that_only_ollama_would_take_for_a_field_is_refused(fields: dict[str, Any], meant: str) -> None:
    assert refusal(**fields).field == meant


# --- the bound of the prompt


def bound(**fields: Any) -> int:
    return read(**fields).prompt_bound_tokens


@pytest.mark.promise("B1")
def test_the_bound_covers_every_text_with_a_message_for_each_part() -> None:
    parts = [{"type": "input_text", "text": "x" * 50}] * 20
    body = items({"role": "user", "content": parts}, MESSAGE)
    assert bound(**body) >= len(orjson.dumps(body)) + 22 * 16 + 1000
    for field in ("instructions", "input"):
        assert bound(**{field: "é" * 5000}) >= 10_000 + 1000
    assert bound(tools=[{"type": "function", "description": "<>&" * 1000}]) >= 18_000 + 1000
    called = {"type": "function_call", "name": "f", "call_id": "c", "arguments": orjson.dumps(["<" * 3000]).decode()}
    assert bound(**items(called)) >= 18_000 + 1000


def test_an_image_counts_as_its_own_bound_wherever_it_stands() -> None:
    image = {"type": "input_image", "image_url": PNG}
    for item in ({"role": "user", "content": [image]}, {"type": "function_call_output", "output": [image]}):
        assert 1000 + 4096 < bound(**items(item)) < 1000 + 4096 + 300
    unread = {"type": "input_text", "image_url": PNG}
    assert bound(**items({"role": "user", "content": [unread]})) >= len(PNG) + 1000


def test_no_prompt_is_longer_than_the_context() -> None:
    rules = RequestRules(facts_of=lambda _: ModelFacts(10, context_tokens=50))
    assert inference().read(BODY | {"input": "x" * 999}, rules).prompt_bound_tokens == 50


# --- errors


def test_an_error_after_the_first_byte_is_an_event_of_its_own() -> None:
    error = BudgetExceededError("No tokens left.", limit="key.daily", retry_after_seconds=None)
    name, data = RESPONSES.surface.error_event(error, "r").decode().removesuffix("\n\n").split("\ndata: ")
    assert name == "event: error"
    told = orjson.loads(data)
    assert told["type"] == "error"
    assert told["message"] == told["error"]["message"] == "No tokens left."
    assert told["code"] == told["error"]["code"] == "insufficient_quota"


def test_all_else_is_as_on_the_other_endpoints() -> None:
    surface = surface_of("/v1/responses")
    assert surface is RESPONSES.surface
    assert (surface.name, surface.prefix, surface.error_body) == (OPENAI.name, OPENAI.prefix, OPENAI.error_body)


NAMES = ["input", "type", "role", "content", "output", "arguments", "image_url", "text", "tools", "format", "prompt"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.just("reasoning"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.promise("N1")
@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5))
def test_no_body_breaks_the_reading(extra: dict[str, Any]) -> None:
    try:
        call = read(**extra)
    except InvalidRequestError:
        return
    assert call.prompt_bound_tokens > 0
    orjson.loads(inference().write(call, 10))
