"""A list of models shows what the caller may use, nothing else."""

import orjson
import pytest

from neuronetz_gateway.errors import NotFoundError, UpstreamBrokenError
from neuronetz_gateway.surfaces.ollama import PS, TAGS
from neuronetz_gateway.surfaces.openai import MODEL, MODELS
from neuronetz_gateway.surfaces.surface import Call

NO_CALL = Call(model="", streamed=False, prompt_bound_tokens=0, output_asked_tokens=0, body={})


def allows(model: str) -> bool:
    return model in {"a:latest", "b:1", "cloudy:latest"}


def tags(*entries: object) -> bytes:
    return orjson.dumps({"models": list(entries), "more": 1})


def reduced(body: bytes) -> object:
    assert TAGS.shown is not None
    return orjson.loads(TAGS.shown(body, NO_CALL, allows))


@pytest.mark.promise("A12", "A13")
def test_only_allowed_models_are_shown_and_the_shape_stays() -> None:
    a = {"name": "A:latest", "model": "A:latest", "size": 5, "details": {"families": None}}
    b = {"name": "b:1"}
    secret = {"name": "secret:latest", "model": "secret:latest"}
    assert reduced(tags(secret, a, b)) == {"models": [a, b], "more": 1}
    assert reduced(tags()) == {"models": [], "more": 1}
    assert reduced(b'{"models":null}') == {"models": None}


@pytest.mark.promise("A13")
@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a:latest", "model": "secret:latest"},
        {"name": "a:latest", "remote_host": "https://ollama.com:443"},
        {"name": "a:latest", "remote_model": "x"},
        {"name": "a:cloud"},
        {"name": "cloudy:8b-cloud"},
        {"name": "http://a"},
        {"name": None},
        {"name": ["a:latest"]},
        {"size": 5},
        "a:latest",
        None,
    ],
)
def test_an_entry_that_is_not_plainly_an_allowed_local_model_is_left_out(entry: object) -> None:
    assert reduced(tags(entry)) == {"models": [], "more": 1}


@pytest.mark.promise("A12")
def test_a_parent_that_is_a_file_of_the_host_is_not_named() -> None:
    details = {"parent_model": "/home/gpu/.ollama/models/blobs/sha256-00", "format": "gguf"}
    a = {"name": "a:latest", "details": details}
    b = {"name": "b:1", "details": {"parent_model": "library/A", "family": "llama"}}
    shown = a | {"details": details | {"parent_model": ""}}
    assert reduced(tags(a, b)) == {"models": [shown, b], "more": 1}


@pytest.mark.promise("A12")
@pytest.mark.parametrize("parent", ["rival/secret:7b", "/data/models/rival.gguf", "D:\\models\\rival.gguf", ["secret"]])
def test_a_parent_that_the_caller_may_not_use_is_not_named(parent: object) -> None:
    """The name of a model of another tenant stood in the details of each model made from it."""
    entry = {"name": "a:latest", "details": {"parent_model": parent, "format": "gguf"}}
    assert reduced(tags(entry)) == {"models": [entry | {"details": {"parent_model": "", "format": "gguf"}}], "more": 1}


def test_the_loaded_models_are_reduced_like_the_installed_ones() -> None:
    assert PS.shown is not None
    a = {"name": "a:latest", "model": "a:latest", "expires_at": "2026-01-01T00:00:00Z", "size_vram": 5}
    shown = PS.shown(tags({"name": "secret:1", "model": "secret:1"}, a), NO_CALL, allows)
    assert orjson.loads(shown) == {"models": [a], "more": 1}


def test_a_list_that_is_nested_too_deeply_is_not_shown() -> None:
    with pytest.raises(UpstreamBrokenError):
        reduced(b'{"models":[{"name":"b:1","x":' + b"[" * 600 + b"]" * 600 + b"}]}")


def test_the_openai_list_is_reduced_alike() -> None:
    assert MODELS.shown is not None
    entries = [{"id": name, "object": "model"} for name in ("a:latest", "secret:1", "a:cloud", "library/b:1")]
    body = orjson.dumps({"object": "list", "data": entries})
    assert orjson.loads(MODELS.shown(body, NO_CALL, allows)) == {"object": "list", "data": [entries[0], entries[3]]}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"models":{}}', b'{"models":[', b"\xff"])
def test_a_list_that_cannot_be_read_is_not_shown(body: bytes) -> None:
    with pytest.raises(UpstreamBrokenError):
        reduced(body)


def shown_model(name: str, *entries: object) -> object:
    assert MODEL.shown is not None
    call = NO_CALL._replace(model=name)
    return orjson.loads(MODEL.shown(orjson.dumps({"object": "list", "data": list(entries)}), call, allows))


@pytest.mark.promise("A13")
def test_the_page_of_a_model_is_its_entry_as_it_is_listed() -> None:
    a = {"id": "library/A:latest", "object": "model", "owned_by": "library"}
    assert shown_model("a:latest", {"id": "secret:1"}, {"id": "b:1"}, a) == a


@pytest.mark.promise("A13")
@pytest.mark.parametrize(
    "entry",
    [
        {"id": "b:1"},
        {"id": "a:latest", "remote_host": "https://ollama.com"},
        {"id": "a:cloud"},
        {"id": 5},
        {},
        None,
    ],
)
def test_a_model_that_is_not_listed_as_a_local_one_is_not_found(entry: object) -> None:
    with pytest.raises(NotFoundError, match=r"The model server has no model 'a:latest'\."):
        shown_model("a:latest", entry)


def test_a_listed_model_that_the_caller_may_not_use_is_not_shown() -> None:
    with pytest.raises(NotFoundError):
        shown_model("secret:1", {"id": "secret:1"})


def test_the_page_of_a_model_needs_a_list_that_can_be_read() -> None:
    assert MODEL.shown is not None
    with pytest.raises(UpstreamBrokenError):
        MODEL.shown(b"{", NO_CALL, allows)
    with pytest.raises(NotFoundError):
        MODEL.shown(b'{"object":"list","data":null}', NO_CALL, allows)
