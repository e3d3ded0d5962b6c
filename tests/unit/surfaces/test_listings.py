"""A list of models shows what the caller may use, nothing else."""

import orjson
import pytest

from neuronetz_gateway.errors import UpstreamBrokenError
from neuronetz_gateway.surfaces.ollama import TAGS
from neuronetz_gateway.surfaces.openai import MODELS
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


def test_the_openai_list_is_reduced_alike() -> None:
    assert MODELS.shown is not None
    entries = [{"id": name, "object": "model"} for name in ("a:latest", "secret:1", "a:cloud", "library/b:1")]
    body = orjson.dumps({"object": "list", "data": entries})
    assert orjson.loads(MODELS.shown(body, NO_CALL, allows)) == {"object": "list", "data": [entries[0], entries[3]]}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"models":{}}', b'{"models":[', b"\xff"])
def test_a_list_that_cannot_be_read_is_not_shown(body: bytes) -> None:
    with pytest.raises(UpstreamBrokenError):
        reduced(body)
