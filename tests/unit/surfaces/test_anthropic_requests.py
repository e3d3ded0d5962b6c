"""What goes up on /v1/messages is what was checked: the model, the cap, no tool of the server's own."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.anthropic import MESSAGES
from neuronetz_gateway.surfaces.surface import Call, Inference, RequestRules

RULES = RequestRules()
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
BODY: dict[str, Any] = {"model": "smollm2", "max_tokens": 50, "messages": HELLO}
TOOL = {"name": "weather", "description": "tells it", "input_schema": {"type": "object", "properties": {}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
PNG_SOURCE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def inference() -> Inference:
    assert MESSAGES.inference is not None
    return MESSAGES.inference


def read(body: dict[str, Any]) -> Call:
    return inference().read(body, RULES)


def sent(body: dict[str, Any], granted: int = 20) -> dict[str, Any]:
    value = orjson.loads(inference().write(read(body), granted))
    assert isinstance(value, dict)
    return value


def refusal(body: dict[str, Any]) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        read(body)
    return caught.value


def says(*blocks: Any) -> dict[str, Any]:
    return BODY | {"messages": [{"role": "user", "content": list(blocks)}]}


# --- model, cap, stream


@pytest.mark.promise("A13")
def test_the_canonical_model_is_what_is_checked_and_sent() -> None:
    body = BODY | {"model": "registry.ollama.ai/library/SmolLM2"}
    assert read(body).model == "smollm2:latest"
    assert sent(body)["model"] == "smollm2:latest"


@pytest.mark.promise("N6")
@pytest.mark.parametrize("model", ["x:cloud", "x:8b-cloud", "x:local", " x", "http://x", "", None, 5])
def test_a_model_that_is_not_served_here_is_refused(model: object) -> None:
    assert refusal(BODY | {"model": model}).field == "model"


@pytest.mark.promise("N6")
def test_the_cap_that_was_granted_is_what_the_model_is_told() -> None:
    assert read(BODY).output_asked_tokens == 50
    assert sent(BODY, granted=7)["max_tokens"] == 7
    for granted in (0, -1):
        with pytest.raises(ValueError, match="would not bind"):
            inference().write(read(BODY), granted)


@pytest.mark.promise("N6")
@pytest.mark.parametrize("asked", [0, -1, 1.5, "5", True, 1e3])
def test_a_cap_that_is_none_is_refused(asked: object) -> None:
    error = refusal(BODY | {"max_tokens": asked})
    assert error.field == "max_tokens"
    assert "a whole number greater than 0" in error.message


@pytest.mark.parametrize("body", [{"model": "m", "messages": HELLO}, BODY | {"max_tokens": None}])
def test_a_missing_cap_is_named(body: dict[str, Any]) -> None:
    assert refusal(body).message.startswith("'max_tokens' is missing")


@pytest.mark.parametrize(("given", "streamed"), [({}, False), ({"stream": None}, False), ({"stream": True}, True)])
def test_an_answer_is_streamed_where_the_caller_says_so(given: dict[str, Any], streamed: bool) -> None:
    assert read(BODY | given).streamed is streamed
    assert inference().new_editor(read(BODY | given)) is None
    assert not inference().new_meter(read(BODY | given)).reading().terminated


# --- policy


@pytest.mark.promise("N6")
def test_a_tool_that_the_server_would_run_is_left_out_and_named() -> None:
    body = BODY | {"tools": [SEARCH, TOOL, {"type": "web_fetch_20250910", "name": "web_fetch"}]}
    assert sent(body)["tools"] == [TOOL]
    assert read(body).adjusted == ("tools",)


@pytest.mark.promise("N6")
def test_tools_of_which_none_is_left_are_left_out() -> None:
    body = BODY | {"tools": [SEARCH] * 1000, "tool_choice": {"type": "auto"}}
    assert "tools" not in sent(body)
    assert read(body).adjusted == ("tools",)


def test_the_callers_own_tools_pass_as_they_are() -> None:
    tools = [TOOL, TOOL | {"type": "custom"}, {"type": "bash_20250124", "name": "bash"}, {"name": "web_search"}]
    assert sent(BODY | {"tools": tools})["tools"] == tools
    assert sent(BODY | {"tools": []})["tools"] == []
    assert read(BODY | {"tools": tools}).adjusted == ()


def test_what_anthropics_programs_send_passes_as_it_is() -> None:
    extra = {
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tool_choice": {"type": "tool", "name": "weather"},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "output_config": {"effort": "low"},
        "service_tier": "auto",
    }
    turn = [
        {"role": "user", "content": [{"type": "text", "text": "Look."}, {"type": "image", "source": PNG_SOURCE}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"Type": 1, "city": "Bonn"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "rain", "is_error": False},
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "content": [{"type": "text", "text": "rain"}, {"type": "image", "source": PNG_SOURCE}],
                },
                {"type": "web_search_tool_result", "content": {"type": "web_search_tool_result_error"}},
            ],
        },
    ]
    body = BODY | extra | {"messages": turn}
    assert sent(body, 50) == body | {"model": "smollm2:latest"}
    assert read(body).adjusted == ()


@pytest.mark.promise("N3")
@pytest.mark.parametrize(
    ("extra", "meant"),
    [
        ({"Model": "x"}, "model"),
        ({"MAX_TOKENS": 5}, "max_tokens"),
        ({"\u017ftream": True}, "stream"),
        ({"Sy\u017ftem": "x"}, "system"),
        ({"Tools": [SEARCH]}, "tools"),
        ({"tools": [{"Type": "web_search_20250305"}]}, "tools[0].type"),
        ({"messages": [{"role": "user", "Content": "x"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"TYPE": "image"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"content": [{"type": "image", "source": PNG_SOURCE | {"Data": "x"}}]}]},
            "messages[0].content[0].source.data",
        ),
        ({"messages": [{"content": [{"type": "text", "\u017fource": PNG_SOURCE}]}]}, "messages[0].content[0].source"),
        ({"Thin\u212aing": {"type": "enabled"}}, "thinking"),
    ],
)
def test_a_spelling_that_only_ollama_would_take_for_a_field_is_refused(extra: dict[str, Any], meant: str) -> None:
    error = refusal(BODY | extra)
    assert error.field == meant
    assert f"'{meant}'" in error.message


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"stream": "true"}, "'stream' must be true or false."),
        ({"messages": {}}, "'messages' must be a list of objects."),
        ({"messages": ["x"]}, "'messages[0]' must be an object."),
        ({"messages": []}, "'messages' is missing or empty"),
        ({"messages": [{"role": 5, "content": "x"}]}, "'messages[0].role' must be a string."),
        ({"messages": [{"role": "user"}]}, "'messages[0].content' is missing"),
        ({"messages": [{"role": "user", "content": None}]}, "'messages[0].content' is missing"),
        ({"messages": [{"content": 5}]}, "'messages[0].content' must be a string or a list of content blocks."),
        ({"messages": [{"content": ["x"]}]}, "'messages[0].content[0]' must be an object."),
        ({"messages": [{"content": [{"type": "text", "text": 5}]}]}, "'messages[0].content[0].text' must be a string."),
        ({"system": {"type": "text"}}, "'system' must be a string or a list of content blocks."),
        ({"system": ["x"]}, "'system[0]' must be an object."),
        ({"tools": {}}, "'tools' must be a list of objects."),
        ({"tools": [{"type": 5}]}, "'tools[0].type' must be a string."),
        # What Ollama passes over without a word: the answer would be that of a model which never saw it.
        (
            says({"type": "document", "source": {"type": "text", "data": "x"}}),
            "which 'document' is not: send it as text",
        ),
        (
            says({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "search_result"}]}),
            "'messages[0].content[0].content[0].type' must be one that the model server reads",
        ),
        ({"output_config": {"format": {"type": "json_schema"}}}, "'output_config.format' is not supported"),
        ({"mcp_servers": [{"url": "https://mcp.example"}]}, "'mcp_servers' is not supported"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_mend(extra: dict[str, Any], message: str) -> None:
    assert message in refusal(BODY | extra).message


@pytest.mark.promise("N6")
def test_what_is_meant_for_the_native_protocol_is_left_out() -> None:
    call = read(BODY | {"keep_alive": -1, "options": {"num_ctx": 1 << 30}})
    assert call.adjusted == ("keep_alive", "options")
    assert call.body.keys() == BODY.keys()


@pytest.mark.parametrize("source", [{"type": "url", "url": "http://10.0.0.1/"}, {"type": "file", "file_id": "x"}])
def test_an_image_that_would_have_to_be_fetched_is_refused_wherever_it_stands(source: dict[str, Any]) -> None:
    image = {"type": "image", "source": source}
    assert refusal(says(image)).field == "messages[0].content[0].source.type"
    result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x"}, image]}
    error = refusal(says(result))
    assert error.field == "messages[0].content[0].content[1].source.type"
    assert "must be base64" in error.message


EMPTY_CONTENTS = [
    "",
    [],
    [{"type": "text", "text": ""}],
    [{"type": "text"}],
    [{"type": "unknown", "text": "x"}],
    [{"type": "thinking", "thinking": "only that"}],
]


@pytest.mark.promise("N6")
@pytest.mark.parametrize("content", EMPTY_CONTENTS)
def test_messages_that_say_nothing_would_load_the_model_so_they_are_refused(content: object) -> None:
    """Ollama makes no message of an empty one; a chat without messages then loads the model (OLLAMA §1.1)."""
    empty = [{"role": "user", "content": content}]
    assert "nothing to work on" in refusal(BODY | {"messages": empty}).message
    for system in ("", [], [{"type": "text", "text": 5}], [{"type": "Text", "text": "x"}]):
        assert refusal(BODY | {"messages": empty, "system": system}).field == "messages"
    assert read(BODY | {"messages": empty, "system": "Speak."}).prompt_bound_tokens
    assert read(BODY | {"messages": [*empty, *HELLO]}).prompt_bound_tokens


NAMES = ["type", "text", "source", "data", "content", "role", "input", "name", "tools", "system", "messages", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["image", "text", "base64", "tool_result"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.promise("N1")
@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), st.lists(JSON, max_size=3))
def test_no_body_breaks_the_reading(extra: dict[str, Any], content: list[Any]) -> None:
    for body in (BODY | extra, says(*content), BODY | {"system": content, "tools": content}):
        try:
            call = read(body)
        except InvalidRequestError:
            continue
        assert call.prompt_bound_tokens > 0
        orjson.loads(inference().write(call, 10))
