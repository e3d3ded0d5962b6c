"""An empty prompt is a request to load or unload, of which nothing but the name and the time goes up."""

from typing import Any

import orjson
import pytest

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces import loading, ollama, openai
from neuronetz_gateway.surfaces.surface import Call, Endpoint, Inference, RequestRules

LOADABLE = [(ollama.CHAT, "messages", []), (ollama.GENERATE, "prompt", "")]
IDLE = {
    "options": {"num_ctx": 1 << 30, "num_predict": -1, "seed": 7},
    "template": "{{ .Prompt }}",
    "system": "You are a pirate.",
    "shift": False,
    "raw": True,
    "format": "json",
    "think": True,
    "unheard-of": 1,
}


def inference(endpoint: Endpoint) -> Inference:
    assert endpoint.inference is not None
    return endpoint.inference


def read(endpoint: Endpoint, body: dict[str, Any]) -> Call:
    return inference(endpoint).read({"model": "SmolLM2"} | body, RequestRules())


def refusal(endpoint: Endpoint, body: dict[str, Any]) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        read(endpoint, body)
    return caught.value


@pytest.mark.promise("N6")
@pytest.mark.parametrize(("endpoint", "subject", "empty"), LOADABLE)
@pytest.mark.parametrize("how", ["missing", "null", "empty"])
def test_an_empty_subject_loads_and_costs_nothing(endpoint: Endpoint, subject: str, empty: object, how: str) -> None:
    body = {} if how == "missing" else {subject: None if how == "null" else empty}
    call = read(endpoint, body)
    assert call.loads
    assert (call.model, call.prompt_bound_tokens, call.output_asked_tokens) == ("smollm2:latest", 0, 0)
    assert call.body == {"model": "smollm2:latest", subject: empty, "stream": True}
    assert orjson.loads(inference(endpoint).write(call, 0)) == call.body


@pytest.mark.promise("N6")
@pytest.mark.parametrize(("endpoint", "subject", "empty"), LOADABLE)
def test_nothing_goes_up_that_would_load_the_model_in_another_way(
    endpoint: Endpoint, subject: str, empty: object
) -> None:
    call = read(endpoint, IDLE | {"keep_alive": "5m", "stream": False})
    sent = {"model": "smollm2:latest", subject: empty, "keep_alive": "5m", "stream": False}
    assert orjson.loads(inference(endpoint).write(call, 0)) == sent
    assert not call.streamed
    assert {"options", "template", "shift", "format"} <= set(call.adjusted)
    assert not {"keep_alive", "model", "stream", "system", "unheard-of"} & set(call.adjusted)


@pytest.mark.parametrize(
    ("asked", "goes_up"),
    [
        (0, 0),
        (300, 300),
        (-1, -1),
        (0.5, 0.5),
        ("0", 0),
        ("-1", -1),
        ("300", 300),
        ("1.5", 1.5),
        ("5m", "5m"),
        ("-1m", "-1m"),
        ("0s", "0s"),
        ("1h30m", "1h30m"),
        ("2.5h", "2.5h"),
        (9_000_000_000, 9_000_000_000),
    ],
)
@pytest.mark.parametrize(("endpoint", "subject", "_"), LOADABLE)
def test_the_time_to_keep_a_model_goes_up_with_a_load(
    endpoint: Endpoint, subject: str, _: object, asked: object, goes_up: object
) -> None:
    """Ollama refuses seconds in a string, which many callers send: they go up as the number that they are."""
    assert read(endpoint, {subject: None, "keep_alive": asked}).body["keep_alive"] == goes_up


@pytest.mark.promise("N6")
@pytest.mark.parametrize(
    "asked",
    [
        True, False, [], {}, [5], "", "soon", "5 m", "5m ", "5d", "m", "--1", "-", "1e9", "٥m", "5m\n", "\u212a",
        9_000_000_001, -9_000_000_001, 10**30, 1e300, float("nan"), float("inf"), "9" * 5000, "1m" * 5000, "0x5", ".",
    ],
)  # fmt: skip
def test_what_is_no_length_of_time_is_refused(asked: object) -> None:
    """A number of seconds past what Go's duration holds would wrap round to less than nothing (api/types.go)."""
    error = refusal(ollama.GENERATE, {"keep_alive": asked})
    assert error.field == "keep_alive"
    assert '"5m"' in error.message


@pytest.mark.promise("N6")
@pytest.mark.parametrize("keep_alive", [0, -1, "0", "-1", "0s", 10**9, "99999h", True, []])
@pytest.mark.parametrize(
    ("endpoint", "work"),
    [
        (ollama.CHAT, {"messages": [{"role": "user", "content": "x"}]}),
        (ollama.CHAT, {"messages": [{"role": "system", "content": ""}]}),
        (ollama.GENERATE, {"prompt": "x"}),
        (ollama.GENERATE, {"prompt": " "}),
        (ollama.EMBED, {"input": "x"}),
        (openai.CHAT_COMPLETIONS, {"messages": [{"role": "user", "content": "x"}]}),
        (openai.EMBEDDINGS, {"input": "x"}),
    ],
)
def test_a_request_with_work_in_it_never_says_how_long_the_model_stays(
    endpoint: Endpoint, work: dict[str, Any], keep_alive: object
) -> None:
    call = read(endpoint, work | {"keep_alive": keep_alive})
    assert not call.loads
    sent = orjson.loads(inference(endpoint).write(call, 10))
    if endpoint.surface is ollama.OLLAMA:  # /v1 takes no notice of it (OLLAMA §4.5)
        assert "keep_alive" not in sent
        assert "keep_alive" in call.adjusted


@pytest.mark.promise("N6")
@pytest.mark.parametrize(
    ("endpoint", "body", "field"),
    [
        (ollama.GENERATE, {"images": ["aaaa"]}, "prompt"),
        (ollama.GENERATE, {"prompt": "", "suffix": "}"}, "prompt"),
        (ollama.CHAT, {"messages": [], "tools": [{"type": "function"}]}, "messages"),
        (ollama.EMBED, {"input": "", "keep_alive": 0}, "input"),
        (ollama.EMBED, {"input": []}, "input"),
        (openai.CHAT_COMPLETIONS, {"messages": []}, "messages"),
        (openai.EMBEDDINGS, {}, "input"),
    ],
)
def test_only_a_native_request_with_nothing_at_all_in_it_is_a_load(
    endpoint: Endpoint, body: dict[str, Any], field: str
) -> None:
    assert refusal(endpoint, body).field == field


@pytest.mark.promise("N3")
@pytest.mark.parametrize("field", ["Keep_Alive", "\u212aeep_alive", "KEEP_ALIVE", "Prompt", "Model"])
def test_a_load_is_read_as_strictly_as_any_request(field: str) -> None:
    assert refusal(ollama.GENERATE, {field: "x"}).field == field.casefold()


def test_the_fields_of_a_load_must_be_what_they_are_elsewhere() -> None:
    assert refusal(ollama.GENERATE, {"stream": "false"}).field == "stream"
    assert refusal(ollama.GENERATE, {"prompt": 0}).field == "prompt"
    assert refusal(ollama.CHAT, {"messages": {}}).field == "messages"


NO_PARTS = {"role": "user", "content": []}
CALLED = {"role": "assistant", "content": [], "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
ASKED = {"role": "user", "content": "x"}


@pytest.mark.promise("N6")
@pytest.mark.parametrize("messages", [[NO_PARTS], [NO_PARTS] * 3, [CALLED], [CALLED, NO_PARTS]])
def test_messages_without_any_content_are_nothing_to_work_on(messages: list[object]) -> None:
    """Ollama makes a message of each part: where none has any, no message was left, by which it loads the model, for a
    key that may not load one."""
    error = refusal(openai.CHAT_COMPLETIONS, {"messages": messages})
    assert error.field == "messages"
    assert error.message == "'messages' is missing or empty: there is nothing to work on."


@pytest.mark.parametrize("messages", [[ASKED, CALLED], [CALLED, ASKED], [NO_PARTS, ASKED], [{"role": "user"}]])
def test_one_message_with_content_is_something_to_work_on(messages: list[object]) -> None:
    assert read(openai.CHAT_COMPLETIONS, {"messages": messages}).body["messages"] == messages


@pytest.mark.parametrize(("endpoint", "mend"), [(ollama.CHAT, "Send a message."), (ollama.GENERATE, "Send a prompt.")])
def test_a_refusal_to_load_names_what_was_missing_with_the_mend(endpoint: Endpoint, mend: str) -> None:
    error = loading.forbidden(read(endpoint, {}))
    assert error.status == 403
    assert error.field is not None
    assert error.message.startswith(f"'{error.field}' is missing or empty, which would load or unload the model")
    assert error.message.endswith(mend)


@pytest.mark.parametrize("reason", ["load", "unload"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("endpoint", [ollama.CHAT, ollama.GENERATE])
def test_the_answer_to_a_load_is_whole_without_any_figure(endpoint: Endpoint, stream: bool, reason: str) -> None:
    meter = inference(endpoint).new_meter(read(endpoint, {"stream": stream}))
    meter.feed(b'{"model":"smollm2:latest","message":{"role":"assistant","content":""},')
    assert not meter.reading().terminated
    meter = inference(endpoint).new_meter(read(endpoint, {"stream": stream}))
    meter.feed(b'{"model":"smollm2:latest","response":"","done":true,"done_reason":"%b"}' % reason.encode())
    assert meter.reading() == MeterReading(terminated=True)
