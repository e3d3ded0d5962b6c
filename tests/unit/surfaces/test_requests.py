"""What goes up is what was checked: the model, the cap, nothing that harms other tenants."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.request_policy import RequestPolicy
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces import ollama, openai
from neuronetz_gateway.surfaces.surface import Call, Endpoint, Inference, RequestRules

RULES = RequestRules(policy=RequestPolicy(max_embedding_inputs=3))
MESSAGES = [{"role": "user", "content": "hello"}]
CHAT = {"model": "smollm2", "messages": MESSAGES}
GENERATE = {"model": "smollm2", "prompt": "hello"}
EMBED = {"model": "all-minilm", "input": "hello"}
GENERATING = [(ollama.CHAT, CHAT), (ollama.GENERATE, GENERATE), (openai.CHAT_COMPLETIONS, CHAT)]
EMBEDDING = [(ollama.EMBED, EMBED), (openai.EMBEDDINGS, EMBED)]
EVERY = GENERATING + EMBEDDING
NAMES = [
    "model",
    "messages",
    "prompt",
    "input",
    "images",
    "content",
    "role",
    "type",
    "image_url",
    "url",
    "tools",
    "tool_calls",
    "options",
    "num_predict",
    "num_ctx",
    "stream",
    "stream_options",
    "include_usage",
    "max_tokens",
    "top_logprobs",
    "keep_alive",
    "x",
]


def inference(endpoint: Endpoint) -> Inference:
    assert endpoint.inference is not None
    return endpoint.inference


def read(endpoint: Endpoint, body: dict[str, Any]) -> Call:
    return inference(endpoint).read(body, RULES)


def sent(endpoint: Endpoint, body: dict[str, Any], granted: int = 100) -> dict[str, Any]:
    raw = inference(endpoint).write(read(endpoint, body), granted)
    value = orjson.loads(raw)
    assert isinstance(value, dict)
    return value


def refusal(endpoint: Endpoint, body: dict[str, Any]) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        read(endpoint, body)
    return caught.value


# --- model


@pytest.mark.promise("A13")
@pytest.mark.parametrize(("endpoint", "body"), EVERY)
def test_the_canonical_model_is_what_is_checked_and_sent(endpoint: Endpoint, body: dict[str, Any]) -> None:
    body = body | {"model": "registry.ollama.ai/library/SmolLM2"}
    assert read(endpoint, body).model == "smollm2:latest"
    assert sent(endpoint, body)["model"] == "smollm2:latest"
    assert body["model"] == "registry.ollama.ai/library/SmolLM2", "the caller's own body must stay as it is"


@pytest.mark.promise("N6")
@pytest.mark.parametrize(("endpoint", "body"), EVERY)
@pytest.mark.parametrize("model", ["x:cloud", "x:8b-cloud", "x:local", " x", "http://x", "", None, 5, ["x"]])
def test_a_model_that_is_not_served_here_is_refused(endpoint: Endpoint, body: dict[str, Any], model: object) -> None:
    assert refusal(endpoint, body | {"model": model}).field == "model"


# --- policy


@pytest.mark.promise("N6")
def test_what_harms_other_tenants_never_goes_up() -> None:
    harmful = {
        "keep_alive": -1,
        "template": "{{ range 99999999 }}{{ end }}",
        "raw": True,
        "shift": False,
        "_debug_render_only": True,
        "top_logprobs": 50,
        "options": {"num_ctx": 1 << 30, "num_gpu": 999, "num_batch": 9, "num_thread": 9, "num_predict": -1, "seed": 7},
    }
    call = read(ollama.GENERATE, GENERATE | harmful)
    assert sent(ollama.GENERATE, GENERATE | harmful, 64) == {
        "model": "smollm2:latest",
        "prompt": "hello",
        "top_logprobs": 20,
        "options": {"seed": 7, "num_predict": 64},
    }
    assert set(call.adjusted) == {
        "keep_alive",
        "template",
        "raw",
        "shift",
        "_debug_render_only",
        "top_logprobs",
        "options.num_ctx",
        "options.num_gpu",
        "options.num_batch",
        "options.num_thread",
    }


@pytest.mark.promise("N6")
def test_embeddings_cannot_pin_or_reload_a_model_either() -> None:
    body = EMBED | {"keep_alive": "24h", "options": {"num_ctx": 5}, "truncate": True}
    assert sent(ollama.EMBED, body) == {
        "model": "all-minilm:latest",
        "input": "hello",
        "options": {},
        "truncate": True,
    }


@pytest.mark.promise("N6")
@pytest.mark.parametrize(("asked", "goes_up"), [(64, 64), (-1, -1), (8192, 8192), (2**31 - 1, 8192)])
def test_a_look_back_of_gigabytes_is_lowered(asked: int, goes_up: int) -> None:
    """llama.cpp sets four bytes aside for each token of repeat_last_n before it generates: 8 GiB for one request."""
    body = CHAT | {"options": {"repeat_last_n": asked}}
    assert sent(ollama.CHAT, body)["options"]["repeat_last_n"] == goes_up
    assert read(ollama.CHAT, body).adjusted == (() if asked == goes_up else ("options.repeat_last_n",))


@pytest.mark.promise("N6")
def test_the_debug_switch_is_dropped_on_v1_too() -> None:
    assert "_debug_render_only" not in sent(openai.CHAT_COMPLETIONS, CHAT | {"_debug_render_only": True})


def test_what_only_the_other_protocol_knows_is_unknown_whatever_its_type() -> None:
    message = {"role": "user", "content": "x", "images": 5}
    extra = {"images": 5, "options": 5, "tools": 5, "keep_alive": -1, "prompt": 5}
    assert sent(openai.CHAT_COMPLETIONS, {"model": "m", "messages": [message]} | extra)["messages"] == [message]
    assert sent(ollama.CHAT, CHAT | {"max_tokens": "x", "images": 5, "tools": 5, "prompt": 5})["max_tokens"] == "x"
    assert sent(ollama.GENERATE, GENERATE | {"messages": 5, "tools": 5})["messages"] == 5


@pytest.mark.parametrize(("endpoint", "body"), EVERY)
def test_unknown_harmless_fields_pass(endpoint: Endpoint, body: dict[str, Any]) -> None:
    extra = {"format": {"type": "object"}, "think": True, "n": 1, "seed": 1, "x-new": [1, None]}
    assert sent(endpoint, body | extra).items() >= extra.items()
    assert read(endpoint, body | extra).adjusted == ()


@pytest.mark.promise("N3")
@pytest.mark.parametrize(
    ("endpoint", "field", "value", "meant"),
    [
        (ollama.CHAT, "Model", "x", "model"),
        (ollama.CHAT, "option\u017f", {"num_ctx": 1}, "options"),
        (ollama.CHAT, "\u212aeep_alive", -1, "keep_alive"),
        (ollama.CHAT, "KEEP_ALIVE", -1, "keep_alive"),
        (ollama.CHAT, "messages", [{"role": "user", "Images": ["aaaa"]}], "messages[0].images"),
        (ollama.CHAT, "TOOLS", [{"type": "function"}], "tools"),
        (ollama.CHAT, "messages", [{"role": "assistant", "Tool_Calls": []}], "messages[0].tool_calls"),
        (ollama.CHAT, "Format", "json", "format"),
        (ollama.GENERATE, "Raw", True, "raw"),
        (ollama.EMBED, "Input", "x", "input"),
        (openai.CHAT_COMPLETIONS, "MAX_TOKENS", 5, "max_tokens"),
        (openai.CHAT_COMPLETIONS, "\u017ftream", True, "stream"),
        (openai.CHAT_COMPLETIONS, "stream_options", {"Include_Usage": False}, "stream_options.include_usage"),
        (openai.CHAT_COMPLETIONS, "messages", [{"Content": "x"}], "messages[0].content"),
        (openai.CHAT_COMPLETIONS, "Tools", [{"type": "function"}], "tools"),
        (openai.CHAT_COMPLETIONS, "Response_Format", {"type": "json_object"}, "response_format"),
        (openai.EMBEDDINGS, "Model", "x", "model"),
    ],
)
def test_a_spelling_that_only_ollama_would_take_for_a_field_is_refused(
    endpoint: Endpoint, field: str, value: object, meant: str
) -> None:
    error = refusal(endpoint, {"model": "m", "messages": MESSAGES, "prompt": "x", "input": "x"} | {field: value})
    assert error.field == meant
    assert f"'{meant}'" in error.message


def test_the_names_of_options_count_in_their_exact_spelling_as_for_ollama() -> None:
    assert sent(ollama.CHAT, CHAT | {"options": {"Num_Ctx": 5}})["options"] == {"Num_Ctx": 5, "num_predict": 100}


@pytest.mark.parametrize(
    ("endpoint", "field", "value", "message"),
    [
        (ollama.CHAT, "stream", "false", "'stream' must be true or false."),
        (ollama.CHAT, "stream", 0, "'stream' must be true or false."),
        (ollama.CHAT, "options", [], "'options' must be an object."),
        (ollama.CHAT, "options", {"num_predict": "5"}, "'options.num_predict' must be a whole number."),
        (ollama.CHAT, "options", {"num_predict": 1.5}, "'options.num_predict' must be a whole number."),
        (ollama.CHAT, "options", {"num_predict": True}, "'options.num_predict' must be a whole number."),
        (ollama.CHAT, "messages", {}, "'messages' must be a list of objects."),
        (ollama.CHAT, "messages", ["x"], "'messages[0]' must be an object."),
        (ollama.CHAT, "messages", [{"content": 5}], "'messages[0].content' must be a string."),
        (ollama.CHAT, "messages", [{"images": [5]}], "'messages[0].images' must be a list of strings."),
        (ollama.CHAT, "top_logprobs", "5", "'top_logprobs' must be true, false or a whole number."),
        (ollama.GENERATE, "prompt", ["x"], "'prompt' must be a string."),
        (ollama.GENERATE, "images", "x", "'images' must be a list of strings."),
        (ollama.EMBED, "input", [["x"]], "'input' must be a list of strings."),
        (ollama.EMBED, "input", 5, "'input' must be a string or a list of strings."),
        (openai.CHAT_COMPLETIONS, "max_tokens", 0, "'max_tokens' must be a whole number greater than 0."),
        (openai.CHAT_COMPLETIONS, "max_tokens", -1, "'max_tokens' must be a whole number greater than 0."),
        (openai.CHAT_COMPLETIONS, "max_completion_tokens", 1.0, "'max_completion_tokens' must be a whole number"),
        (openai.CHAT_COMPLETIONS, "stream_options", True, "'stream_options' must be an object."),
        (openai.CHAT_COMPLETIONS, "stream_options", {"include_usage": 1}, "must be true or false."),
        (openai.CHAT_COMPLETIONS, "messages", [{"content": 5}], "must be a string or a list of parts."),
        (openai.EMBEDDINGS, "input", [1, 2], "'input' must be a list of strings."),
        (openai.EMBEDDINGS, "input", ["a"] * 4, "'input' holds more than 3 texts; send fewer."),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_mend(
    endpoint: Endpoint, field: str, value: object, message: str
) -> None:
    body = {"model": "m", "messages": MESSAGES, "prompt": "x", "input": "x"} | {field: value}
    assert message in refusal(endpoint, body).message


@pytest.mark.promise("N6")
@pytest.mark.parametrize(
    ("endpoint", "field", "empty"),
    [
        (ollama.EMBED, "input", ""),
        (ollama.EMBED, "input", []),
        (openai.CHAT_COMPLETIONS, "messages", []),
        (openai.EMBEDDINGS, "input", ""),
    ],
)
def test_an_empty_request_that_is_no_load_either_is_refused(endpoint: Endpoint, field: str, empty: object) -> None:
    assert refusal(endpoint, {"model": "m", field: empty}).field == field
    assert refusal(endpoint, {"model": "m"}).field == field


def test_null_is_absent_as_for_ollama() -> None:
    body = CHAT | {"stream": None, "options": None, "keep_alive": None, "max_tokens": None}
    assert read(ollama.CHAT, body).streamed
    assert read(ollama.CHAT, body).adjusted == ()
    assert not read(openai.CHAT_COMPLETIONS, body).streamed
    assert read(openai.CHAT_COMPLETIONS, body).output_asked_tokens is None


# --- output cap


@pytest.mark.parametrize(("asked", "cap"), [(None, None), (-1, None), (-2, None), (0, None), (1, 1), (500, 500)])
@pytest.mark.promise("N6")
def test_num_predict_is_what_the_caller_asked_unless_it_means_no_cap(asked: int | None, cap: int | None) -> None:
    body = CHAT | {"options": {"num_predict": asked, "seed": 1}}
    assert read(ollama.CHAT, body).output_asked_tokens == cap
    assert sent(ollama.CHAT, body, 77)["options"] == {"seed": 1, "num_predict": 77}


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ({}, None),
        ({"max_tokens": 9}, 9),
        ({"max_completion_tokens": 8}, 8),
        ({"max_tokens": 9, "max_completion_tokens": 8}, 8),
        ({"max_tokens": 7, "max_completion_tokens": 8}, 7),
    ],
)
@pytest.mark.promise("N6")
def test_the_openai_cap_is_written_where_ollama_obeys_it(fields: dict[str, int], cap: int | None) -> None:
    assert read(openai.CHAT_COMPLETIONS, CHAT | fields).output_asked_tokens == cap
    body = sent(openai.CHAT_COMPLETIONS, CHAT | fields, 5)
    assert body["max_tokens"] == 5
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize(("endpoint", "body"), GENERATING)
def test_a_cap_that_ollama_would_read_as_none_is_never_written(endpoint: Endpoint, body: dict[str, Any]) -> None:
    call = read(endpoint, body)
    for granted in (0, -1):
        with pytest.raises(ValueError, match="would not bind"):
            inference(endpoint).write(call, granted)


@pytest.mark.parametrize(("endpoint", "body"), GENERATING)
def test_writing_twice_with_another_grant_leaves_nothing_of_the_first(endpoint: Endpoint, body: dict[str, Any]) -> None:
    call = read(endpoint, body)
    first, second = inference(endpoint).write(call, 10), inference(endpoint).write(call, 20)
    assert first == inference(endpoint).write(call, 10)
    assert second != first


@pytest.mark.parametrize(("endpoint", "body"), EMBEDDING)
def test_embeddings_ask_for_no_output(endpoint: Endpoint, body: dict[str, Any]) -> None:
    call = read(endpoint, body | {"stream": True})
    assert call.output_asked_tokens == 0
    assert not call.streamed
    assert not inference(endpoint).has_output
    assert "max_tokens" not in sent(endpoint, body)


# --- streaming


@pytest.mark.parametrize(
    ("endpoint", "given", "streamed"),
    [
        (ollama.CHAT, {}, True),
        (ollama.CHAT, {"stream": False}, False),
        (ollama.GENERATE, {}, True),
        (openai.CHAT_COMPLETIONS, {}, False),
        (openai.CHAT_COMPLETIONS, {"stream": True}, True),
    ],
)
def test_each_protocol_has_its_own_default_of_streaming(
    endpoint: Endpoint, given: dict[str, bool], streamed: bool
) -> None:
    assert read(endpoint, CHAT | {"prompt": "x"} | given).streamed is streamed


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"stream_options": None}, False),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": {"include_usage": True}}, True),
    ],
)
def test_usage_is_always_asked_for_and_taken_out_where_the_caller_had_not(
    given: dict[str, object], wanted: bool
) -> None:
    body = CHAT | {"stream": True} | given
    call = read(openai.CHAT_COMPLETIONS, body)
    assert call.usage_wanted is wanted
    assert sent(openai.CHAT_COMPLETIONS, body)["stream_options"] == {"include_usage": True}
    assert (inference(openai.CHAT_COMPLETIONS).new_editor(call) is None) is wanted


def test_an_answer_in_one_piece_needs_no_editor() -> None:
    call = read(openai.CHAT_COMPLETIONS, CHAT | {"stream_options": {"include_usage": True}})
    assert not call.usage_wanted
    assert inference(openai.CHAT_COMPLETIONS).new_editor(call) is None
    assert inference(ollama.CHAT).new_editor(read(ollama.CHAT, CHAT)) is None


@pytest.mark.parametrize(("endpoint", "body"), EVERY)
@pytest.mark.parametrize("stream", [True, False])
def test_every_inference_has_a_meter(endpoint: Endpoint, body: dict[str, Any], stream: bool) -> None:
    meter = inference(endpoint).new_meter(read(endpoint, body | {"stream": stream}))
    assert meter.counted_output == 0
    assert not meter.reading().terminated


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.promise("N1")
@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5), st.sampled_from(EVERY))
def test_no_body_breaks_the_reading(extra: dict[str, Any], row: tuple[Endpoint, dict[str, Any]]) -> None:
    endpoint, body = row
    try:
        call = read(endpoint, body | extra)
    except InvalidRequestError:
        return
    assert call.loads or call.prompt_bound_tokens > 0
    orjson.loads(inference(endpoint).write(call, 10))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
         "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://10.0.0.1/"}]}]},
         "messages[0].content[0].image_url"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
    ],
)  # fmt: skip
def test_what_openai_would_do_and_ollama_does_not_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    assert refusal(openai.CHAT_COMPLETIONS, CHAT | body).field == field
