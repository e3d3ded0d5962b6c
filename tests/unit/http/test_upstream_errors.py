"""What the model server's refusals are called towards callers, of which it must not tell more than it may."""

import itertools
import json
import random
import re

import httpx
import pytest

from neuronetz_gateway import errors
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.http.upstream_errors import failure_of, refusal_of

MODEL = "fakea:latest"
NESTED = json.dumps(
    {
        "error": json.dumps(
            {
                "error": {
                    "code": 400,
                    "message": "request (9412 tokens) exceeds the available context size (8192 tokens), try increasing",
                    "type": "exceed_context_size_error",
                }
            }
        )
    }
)


def native(words: str) -> bytes:
    return json.dumps({"error": words}).encode()


def on_v1(words: str) -> bytes:
    return json.dumps({"error": {"message": words, "type": "api_error", "param": None, "code": None}}).encode()


def anthropic(words: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": "api_error", "message": words}, "request_id": "r"}).encode()


SHAPES = (native, on_v1, anthropic)


@pytest.mark.promise("F3")
@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (404, native("model 'fakea:latest' not found"), errors.ModelNotFoundError, "no model 'fakea:latest'"),
        (404, on_v1('model "x" not found, try pulling it first'), errors.ModelNotFoundError, "no model 'fakea:latest'"),
        (404, b"404 page not found", errors.UpstreamTooOldError, "does not know this endpoint"),
        (405, b"405 method not allowed", errors.UpstreamTooOldError, "does not know this endpoint"),
        (403, b"", errors.UpstreamBrokenError, "The model server failed."),
        (401, b'{"error":"unauthorized","signin_url":"https://ollama.com/connect?key=abc"}', errors.UpstreamBrokenError,
         "The model server failed."),
        (403, native("ollama cloud is disabled"), errors.UpstreamBrokenError, "The model server failed."),
        (402, native("payment required"), errors.UpstreamBrokenError, "The model server failed."),
        (301, b"", errors.UpstreamBrokenError, "The model server failed."),
        (307, b"", errors.UpstreamBrokenError, "The model server failed."),
        (204, b"", errors.UpstreamBrokenError, "The model server failed."),
        (499, native("request canceled"), errors.UpstreamBrokenError, "The model server failed."),
        (500, native("llama runner process has terminated: exit status 2"), errors.UpstreamBrokenError,
         "The model server failed."),
        (500, native('option "num_ctx" must be of type integer'), errors.InvalidRequestError,
         "'options.num_ctx' has the wrong type: it takes a value of type integer."),
        (500, native('option "stop" must be of an array of strings'), errors.InvalidRequestError, "'options.stop'"),
        (500, native("model requires more system memory (5.6 GiB) than is available (1.2 GiB)"),
         errors.UpstreamBrokenError, "not enough memory"),
        (400, native('"registry.ollama.ai/library/fakea:latest" does not support tools'), errors.InvalidRequestError,
         "The model 'fakea:latest' does not support tools."),
        (501, native('{"error":{"code":501,"message":"This server does not support embeddings. Start it with --x"}}'),
         errors.InvalidRequestError, "The model 'fakea:latest' does not support embeddings."),
        (400, native("the input length exceeds the context length"), errors.ContextExceededError, "longer than"),
        (413, native("the input length exceeds the context length"), errors.ContextExceededError, "longer than"),
        (400, NESTED.encode(), errors.ContextExceededError, "9,412 tokens, of which it holds 8,192."),
        (400, native("json: cannot unmarshal string into Go struct field ChatRequest.messages.content of type []api.M"),
         errors.InvalidRequestError, "'messages.content' has the wrong type."),
        (400, native('invalid think value: "x" (must be "high", "medium", "low", true, or false)'),
         errors.InvalidRequestError, 'Invalid think value: "x" (must be "high", "medium", "low", true, or false).'),
        (400, native("invalid base64 image data"), errors.InvalidRequestError, "Invalid base64 image data."),
        (400, native("illegal base64 data at input byte 4"), errors.InvalidRequestError, "could not be read"),
        (400, on_v1("image URLs are not currently supported, please use base64 encoded data instead"),
         errors.InvalidRequestError, "must be sent along, as a data URL"),
        (400, native("open /home/gpu/.ollama/models/blobs/sha256-abc: no such file"), errors.InvalidRequestError,
         "The model server refused the request."),
        (422, b"nonsense", errors.InvalidRequestError, "The model server refused the request."),
        (413, b"", errors.RequestTooLargeError, "too large"),
        (429, native("too many concurrent requests"), errors.OverloadedError, "busy"),
        (503, native("server busy, please try again.  maximum pending requests exceeded"), errors.OverloadedError,
         "busy"),
        (529, anthropic("overloaded"), errors.OverloadedError, "busy"),
        (504, b"<html>", errors.UpstreamTimedOutError, "in time"),
        (502, b"<html>", errors.UpstreamBrokenError, "The model server failed."),
    ],
)  # fmt: skip
def test_a_refusal_is_told_as_what_it_is(status: int, body: bytes, kind: type[GatewayError], said: str) -> None:
    error = refusal_of(status, body, MODEL)
    assert type(error) is kind
    assert said in error.message


def test_a_known_sentence_is_known_in_every_shape() -> None:
    for shape in SHAPES:
        error = refusal_of(400, shape('"fakea" does not support thinking'), MODEL)
        assert error.message == "The model 'fakea:latest' does not support thinking."
        assert error.field == "model"


NASTY = (
    "/usr/lib/ollama/llama-server", "C:\\Users\\op\\.ollama", "registry.ollama.ai/library/fakea:latest",
    "registry.ollama.ai", "hf.co/op/secret:q4", "other-model:7b", "127.0.0.1:11434", "10.0.3.7", "[::1]:39121",
    "gpu-box.internal", "http://127.0.0.1:39121/completion", "[]api.Message", "api.ChatRequest", "*llm.Server",
    "main.go:214", "json: cannot", "goroutine 1 [running]", "runtime error", "panic:", "0xc000123456", "signal: killed",
    "sha256-dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff", "unix:///run/ollama.sock",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI",
    "https://ollama.com/connect?name=box", "/home/gpu/.ollama/models/manifests",
    "ggml_cuda_host_malloc()", "dial tcp", "\x1b[31m", "\u202e", "\x00",
)  # fmt: skip
SENTENCES = (
    "{}", "error: {}", 'model "{}" failed', "open {}: no such thing", 'option "{}" must be of type integer',
    'option "num_ctx" must be of type integer ({})', "cannot unmarshal string into Go struct field {}.x of type {}",
    "cannot unmarshal string into Go struct field A.{} of type {}", "{} does not support tools", "does not support {}",
    "the input length exceeds the context length {}", "illegal base64 {}", "invalid think value: {}",
    "request ({} tokens) exceeds the available context size ({} tokens)", "invalid format: {}",
    "model requires more system memory ({}) than {}",
)  # fmt: skip
LEAK = re.compile(
    r"[/\\\x00-\x1f\u202e]|registry|ollama|hf\.co|\d+\.\d+\.\d+|::1|:\d|internal|\bapi\.|\bllm\.|\.go\b|\bjson:|goroutine|"
    r"runtime|panic|sha256|[0-9a-f]{16}|0x|ssh-|AAAA|signal|ggml|tcp|other-model|secret|\*",
    re.IGNORECASE,
)


def test_no_words_of_the_model_server_tell_of_its_host() -> None:
    """Paths, addresses, Go types, registry names and other tenants' models, wherever they stand in whatever error."""
    chance = random.Random(11)
    statuses = (400, 401, 403, 404, 405, 413, 422, 429, 499, 500, 501, 502, 503, 504)
    for nasty, sentence in itertools.product(NASTY, SENTENCES):
        words = sentence.replace("{}", nasty)
        for wrapped in (words, json.dumps({"error": {"message": words}}), f"{words} {chance.choice(NASTY)}"):
            status = chance.choice(statuses)
            for body in (*(shape(wrapped) for shape in SHAPES), wrapped.encode()):
                error = refusal_of(status, body, MODEL)
                told = f"{error.message} {error.field}".replace(MODEL, "")
                assert not LEAK.search(told), (status, body, told)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'"text"', b"7", b'{"error":null}', b'{"error":[1]}', b'{"error":{"message":7}}',
     b'{"error":' * 5000, b'{"error":' * 900 + b"1" + b"}" * 900, b"\xff\xfe", b'{"error":"' + b"x" * 70_000 + b'"}'],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 404, 500])
def test_whatever_a_body_is_there_is_an_answer(body: bytes, status: int) -> None:
    assert refusal_of(status, body, MODEL).message.startswith("The model server ")
    assert refusal_of(status, body, "").message.startswith("The model server ")


@pytest.mark.promise("F3")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (httpx.ConnectError("dial 127.0.0.1"), 503),
        (httpx.ConnectTimeout("x"), 503),
        (httpx.PoolTimeout("x"), 503),
        (httpx.ReadTimeout("x"), 504),
        (httpx.WriteTimeout("x"), 504),
        (httpx.ReadError("x"), 502),
        (httpx.WriteError("x"), 502),
        (httpx.RemoteProtocolError("x"), 502),
    ],
)
def test_a_broken_connection_is_told_as_what_it_is(error: httpx.TransportError, status: int) -> None:
    told = failure_of(error)
    assert told.status == status
    assert "x" not in told.message.split()
    assert "127" not in told.message
