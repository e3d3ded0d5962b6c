"""The demo model is a real model with Ollama's surface, as Ollama's own SDK, OpenAI's or Anthropic's sees it."""

import http.client
import json
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import ollama
import openai
import pytest

from neuronetz_gateway.embedded.demo_model import DemoModel
from tests.integration.embedded.conftest import Parent

MODEL = "smollm2:135m"
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="
ANSWER_SECONDS = 60.0
PARENT = """
import pathlib, sys, time
from neuronetz_gateway.embedded.demo_model import DemoModel
model = DemoModel(pathlib.Path(sys.argv[1]))
model.start()
print(pathlib.Path(f"/proc/self/task/{__import__('os').getpid()}/children").read_text(), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = DemoModel(tmp_path_factory.mktemp("demo"))
    model.start()
    try:
        yield model.url
    finally:
        model.stop()


def asked(url: str, path: str, body: dict[str, Any]) -> http.client.HTTPConnection:
    """A connection with the request on its way."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
    connection.request("POST", path, json.dumps(body))
    return connection


def test_ollamas_own_sdk_is_at_home(url: str) -> None:
    with ollama.Client(url) as sdk:
        assert [model.model for model in sdk.list().models] == [MODEL]
        assert [model.model for model in sdk.ps().models] == [MODEL]
        assert sdk.show(MODEL).capabilities == ["completion"]
        fixed = {"num_predict": 12, "temperature": 0, "seed": 1}
        whole = sdk.chat(MODEL.upper(), QUESTION, options=fixed)
        assert "Paris" in (whole.message.content or "")
        assert (whole.done, whole.done_reason, whole.eval_count) == (True, "length", 12)
        parts = list(sdk.chat(MODEL, QUESTION, options=fixed, stream=True))
        assert "".join(part.message.content or "" for part in parts) == whole.message.content
        assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
        assert (parts[-1].eval_count, parts[-1].prompt_eval_count) == (12, whole.prompt_eval_count)
        stopped = sdk.generate(MODEL, QUESTION[0]["content"], options={**fixed, "stop": ["Paris"]})
        assert "Paris" not in stopped.response
        assert stopped.done_reason == "stop"
        embedded = sdk.embed(MODEL, ["a cat", "a dog"])
        assert [len(vector) for vector in embedded.embeddings] == [576, 576]
        with pytest.raises(ollama.ResponseError, match="model 'absent' not found") as refused:
            sdk.chat("absent", QUESTION)
        assert refused.value.status_code == 404


def test_openais_sdk_sees_what_ollama_would_send(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as sdk:
        assert [model.id for model in sdk.models.list()] == [MODEL]
        fixed: dict[str, Any] = {"model": MODEL, "max_tokens": 8, "temperature": 0}
        whole = sdk.chat.completions.create(messages=QUESTION, **fixed)
        assert whole.usage is not None
        assert (whole.choices[0].finish_reason, whole.usage.completion_tokens) == ("length", 8)
        plain: list[Any] = list(sdk.chat.completions.create(messages=QUESTION, stream=True, **fixed))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == whole.choices[0].message.content
        assert all(chunk.usage is None and chunk.choices for chunk in plain)
        wanted: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        counted: list[Any] = list(sdk.chat.completions.create(messages=QUESTION, **wanted, **fixed))
        assert (counted[-1].choices, counted[-1].usage) == ([], whole.usage)
        texts: list[Any] = list(sdk.completions.create(prompt="Hello", **wanted, **fixed))
        assert {chunk.usage.total_tokens for chunk in texts[:-1]} == {0}
        assert texts[-1].usage.completion_tokens == 8
        assert len(sdk.embeddings.create(model=MODEL, input="a cat").data[0].embedding) == 576
        with pytest.raises(openai.NotFoundError, match="model 'absent' not found"):
            sdk.chat.completions.create(model="absent", messages=QUESTION)


def test_openais_sdk_is_given_responses(url: str) -> None:
    """The demo model had no such route, so that the first call of many a program of today ended with a 502."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as sdk:
        fixed: dict[str, Any] = {"model": MODEL, "max_output_tokens": 8, "temperature": 0}
        whole = sdk.responses.create(input=QUESTION[0]["content"], instructions="Be brief.", **fixed)
        assert whole.usage is not None
        assert (whole.status, whole.model, whole.usage.output_tokens) == ("completed", MODEL, 8)
        parts: list[Any] = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION[0]["content"]}]}]
        with sdk.responses.stream(input=parts, instructions="Be brief.", **fixed) as stream:
            told = list(stream)
        assert [event.sequence_number for event in told] == list(range(len(told)))
        assert "".join(event.delta for event in told if event.type == "response.output_text.delta") == whole.output_text
        ended = told[-1]
        assert ended.type == "response.completed"
        assert (ended.response.output_text, ended.response.usage) == (whole.output_text, whole.usage)
        schema: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        form: Any = {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
        formed = sdk.responses.create(input="A number?", text=form, model=MODEL, max_output_tokens=60, temperature=0)
        assert json.loads(formed.output_text).keys() == {"n"}
        with pytest.raises(openai.NotFoundError, match="model 'absent' not found"):
            sdk.responses.create(input="Hello", **fixed | {"model": "absent"})
        picture: list[Any] = [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]}]
        result: list[Any] = [{"type": "function_call_output", "call_id": "c", "output": "x"}]
        wrong: list[dict[str, Any]] = [{"input": picture}, {"input": result}, {"input": 1}, {"tools": [{"name": "f"}]}]
        for each in wrong:
            with pytest.raises(openai.BadRequestError):
                sdk.responses.create(**{"input": "Hello", **fixed, **each})


def test_a_picture_is_refused_since_the_model_cannot_see(url: str) -> None:
    """It was left out without a word on Ollama's own routes, and answered as if it had been seen."""
    image = PICTURE.partition(",")[2]
    with ollama.Client(url) as sdk:
        with pytest.raises(ollama.ResponseError, match="does not support images"):
            sdk.chat(MODEL, [{"role": "user", "content": "What is it?", "images": [image]}])
        with pytest.raises(ollama.ResponseError, match="does not support images"):
            sdk.generate(MODEL, "What is it?", images=[image])
    parts: list[Any] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}]
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as sdk_of_openai,
        pytest.raises(openai.BadRequestError, match="does not support content of type image_url"),
    ):
        sdk_of_openai.chat.completions.create(model=MODEL, messages=parts)


def test_anthropics_sdk_sees_what_ollama_would_send(url: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0) as sdk:
        fixed: dict[str, Any] = {"model": MODEL, "max_tokens": 8, "extra_body": {"temperature": 0}}
        whole = sdk.messages.create(messages=QUESTION, system="Be brief.", **fixed)
        assert (whole.stop_reason, whole.usage.output_tokens, whole.model) == ("max_tokens", 8, MODEL)
        [block] = whole.content
        assert block.type == "text"
        parts: list[Any] = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
        with sdk.messages.stream(messages=parts, system=[{"type": "text", "text": "Be brief."}], **fixed) as stream:
            assert "".join(stream.text_stream) == block.text
            assert stream.get_final_message().usage == whole.usage
        with pytest.raises(anthropic.NotFoundError, match="model 'absent' not found"):
            sdk.messages.create(messages=QUESTION, **fixed | {"model": "absent"})
        wrong: list[dict[str, Any]] = [{"max_tokens": 0}, {"messages": []}, {"tools": [{"name": "f"}]}]
        for each in wrong:
            with pytest.raises(anthropic.BadRequestError):
                sdk.messages.create(**{"messages": QUESTION, **fixed, **each})
        picture: list[Any] = [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]
        with pytest.raises(anthropic.BadRequestError, match="does not support content of type image"):
            sdk.messages.create(messages=picture, **fixed)


@pytest.mark.parametrize("stream", [True, False])
def test_a_whole_stream_of_messages_is_framed_as_ollama_frames_it(url: str, stream: bool) -> None:
    body = {"model": MODEL, "max_tokens": 3, "messages": QUESTION, "stream": stream}
    connection = asked(url, "/v1/messages", body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if not stream:
        assert json.loads(text)["type"] == "message"
        return
    assert answer.headers["content-type"] == "text/event-stream"
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}


def left_waiting(url: str, body: dict[str, Any]) -> http.client.HTTPConnection:
    """A request that gets no answer for a second: all places are taken. The first ones may still find a free place."""
    for _ in range(5):
        connection = asked(url, "/api/generate", body)
        if not select.select([connection.sock], [], [], 1.0)[0]:
            return connection
        connection.close()
    pytest.fail("no place was ever taken")


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_stops_the_generation(url: str, stream: bool) -> None:
    """More callers than the model has places ask for long texts; once all have left, the next is served at once."""
    long = {"model": MODEL, "stream": stream, "prompt": "Write a long story.", "options": {"num_predict": 1500}}
    callers = [asked(url, "/api/generate", long) for _ in range(3)]
    short = left_waiting(url, {**long, "options": {"num_predict": 1}})
    for caller in callers:
        caller.close()
    short.sock.settimeout(10)
    assert b'"done":true' in short.getresponse().read()
    short.close()


def test_the_model_dies_with_a_parent_that_gets_sigkill(
    tmp_path: Path, parent: Callable[..., Parent], gone: Callable[[int], bool], killed: list[int]
) -> None:
    running = parent(PARENT, tmp_path)
    killed.append(int(running.line().split()[0]))
    running.kill()
    assert gone(killed[0])


def test_one_connection_serves_several_requests_in_ollamas_framing(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
    for method, path, status, body in (
        ("GET", "/", 200, b"Ollama is running"),
        ("HEAD", "/", 200, b""),
        ("HEAD", "/api/version", 200, b""),
        ("HEAD", "/api/tags", 200, b""),
        ("POST", "/api/pull", 404, b"404 page not found"),
        ("GET", "/api/chat", 405, b"405 method not allowed"),
    ):
        connection.request(method, path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, body)
    connection.request("POST", "/api/generate", iter([b'{"model":', b'"smollm2:135m"}']), encode_chunked=True)
    loaded = json.loads(connection.getresponse().read())
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    connection.close()
