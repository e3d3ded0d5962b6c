"""What is shown of a model is rebuilt from what is known to be harmless, whatever the model server says."""

from typing import Any

import ollama as sdk
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.errors import InvalidRequestError, NotFoundError, UpstreamBrokenError
from neuronetz_gateway.surfaces.host_paths import is_host_path, without_host_paths
from neuronetz_gateway.surfaces.ollama import SHOW
from neuronetz_gateway.surfaces.surface import Call, RequestRules

PATHS = [
    "/usr/share/ollama/.ollama/models/blobs/sha256-0123456789abcdef",
    r"C:\Users\John Smith\.ollama\models\blobs\sha256-0123456789abcdef",
    "/srv/models/blobs/sha256:0123",
    "/srv/models/manifests/registry.ollama.ai/library/x/latest",
    "/home/gpu/.ollama/id_ed25519",
    "/home/gpu/.ollama",
]
SECRET = "You are the house model."
CALL = Call(model="m:latest", streamed=False, prompt_bound_tokens=0, output_asked_tokens=0, body={})
ANSWER: dict[str, Any] = {
    "license": "MIT",
    "modelfile": f"# Modelfile\nFROM {PATHS[0]}\nSYSTEM {SECRET}\nMESSAGE user {SECRET}\n",
    "parameters": 'num_ctx                        4096\nstop                           "<|eot|>"',
    "template": "{{ .System }} {{ .Prompt }}",
    "system": SECRET,
    "messages": [{"role": "user", "content": SECRET}],
    "details": {"parent_model": PATHS[0], "format": "gguf", "families": ["llama"], "new": SECRET},
    "model_info": {
        "general.architecture": "llama",
        "general.parameter_count": 3,
        "x": 1.5,
        "tokens": ["a", "b"],
        "nothing": None,
        "deep": [["a"]],
    },
    "projector_info": {"general.architecture": "clip"},
    "tensors": [{"name": "blk.0", "type": "F32", "shape": [3, 4], "file": PATHS[0]}, "x"],
    "capabilities": ["completion"],
    "modified_at": "2026-01-01T00:00:00Z",
    "requires": "0.33.0",
    "something_new": SECRET,
}


def asked(body: dict[str, Any]) -> Call:
    assert SHOW.asks is not None
    return SHOW.asks(body, RequestRules())


def shown(answer: object) -> dict[str, Any]:
    assert SHOW.shown is not None
    value = orjson.loads(SHOW.shown(orjson.dumps(answer), CALL, lambda _: True))
    assert isinstance(value, dict)
    return value


# --- the question


@pytest.mark.promise("A13")
@pytest.mark.parametrize(
    "body",
    [
        {"model": "registry.ollama.ai/library/SmolLM2"},
        {"name": "smollm2"},
        {"name": "smollm2", "model": ""},
        {"model": "smollm2:latest", "name": "SmolLM2"},
        {"model": "smollm2", "name": "", "system": "", "template": "", "options": None, "unknown": 1},
    ],
)
def test_only_the_canonical_model_is_asked_for(body: dict[str, Any]) -> None:
    call = asked(body)
    assert call.model == "smollm2:latest"
    assert call.body == {"model": "smollm2:latest", "verbose": False}
    assert call.adjusted == ()


def test_what_would_change_the_answer_is_not_sent_and_named() -> None:
    changes = {"system": "x", "template": "y", "options": {"num_ctx": 1}, "runner": "mlx"}
    call = asked({"model": "m", "verbose": True, **changes})
    assert call.body == {"model": "m:latest", "verbose": True}
    assert call.adjusted == ("system", "template", "options", "runner")


@pytest.mark.promise("A13", "N6")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": ""},
        {"model": None},
        {"model": 1},
        {"name": ["m"]},
        {"model": "m", "name": "other"},
        {"model": "m", "name": "m:1"},
        {"model": "m:cloud"},
        {"name": "m:8b-cloud"},
        {"Model": "m"},
        {"model": "m", "NAME": "other"},
        {"model": "m", "verbose": "true"},
    ],
)
def test_a_question_that_names_no_one_model_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        asked(body)


# --- the answer


@pytest.mark.promise("A12")
def test_the_answer_is_rebuilt_without_what_is_hidden() -> None:
    answer = shown(ANSWER)
    assert answer.pop("modelfile").splitlines()[1:] == [
        "FROM m:latest",
        'TEMPLATE """{{ .System }} {{ .Prompt }}"""',
        "PARAMETER num_ctx 4096",
        'PARAMETER stop "<|eot|>"',
    ]
    assert answer == {
        "license": "MIT",
        "parameters": ANSWER["parameters"],
        "template": ANSWER["template"],
        "details": {"parent_model": "", "format": "gguf", "families": ["llama"]},
        "model_info": {
            "general.architecture": "llama",
            "general.parameter_count": 3,
            "x": 1.5,
            "tokens": ["a", "b"],
        },
        "projector_info": {"general.architecture": "clip"},
        "tensors": [{"name": "blk.0", "type": "F32", "shape": [3, 4]}],
        "capabilities": ["completion"],
        "modified_at": "2026-01-01T00:00:00Z",
        "requires": "0.33.0",
    }


@pytest.mark.parametrize("answer", [ANSWER, {}])
def test_the_official_library_reads_what_is_shown(answer: dict[str, Any]) -> None:
    assert sdk.ShowResponse(**shown(answer)).modelfile


@pytest.mark.promise("A12")
@pytest.mark.parametrize("path", PATHS)
def test_no_path_of_the_host_is_shown_wherever_it_stands(path: str) -> None:
    hostile = {
        "license": f"first\nsee {path} for it\nlast",
        "parameters": f'stop "{path}"\nseed 7',
        "template": f"{{{{ .Prompt }}}}{path}",
        "details": {"parent_model": path, "format": path, "family": path, "families": [path, "llama"]},
        "model_info": {path: 1, "a": path, "b": [path, "c"], "d": {"e": path}, "f": [[path]]},
        "projector_info": {"a": f"x {path}"},
        "tensors": [{"name": path, "type": path, "shape": [path]}],
        "capabilities": [path],
        "modified_at": path,
        "requires": path,
        path: "x",
    }
    answer = shown(hostile)
    assert not is_host_path(orjson.dumps(answer).decode().replace("\\\\", "\\"))
    assert "John" not in str(answer)
    assert answer["license"] == "first\nlast"
    assert answer["parameters"] == "seed 7"
    assert answer["details"]["families"] == ["", "llama"]


def test_a_text_without_a_path_is_shown_as_it_stands() -> None:
    text = "a/b\r\n.ollama\n/blobs are fine\n"
    assert without_host_paths(text) is text


def test_a_template_that_would_end_its_own_quotation_is_left_out_of_the_modelfile() -> None:
    answer = shown({"template": 'x"""\nFROM /etc/passwd\n', "parameters": "seed 7\nalone\n\n"})
    assert answer["modelfile"].splitlines()[1:] == ["FROM m:latest", "PARAMETER seed 7"]


@pytest.mark.promise("A13")
@pytest.mark.parametrize("stub", [{"remote_host": "https://ollama.com:443"}, {"remote_model": "x"}])
def test_a_model_that_is_run_elsewhere_is_not_found(stub: dict[str, str]) -> None:
    with pytest.raises(NotFoundError):
        shown(ANSWER | stub)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b'{"a":' * 2000 + b"1" + b"}" * 2000])
def test_an_answer_that_cannot_be_read_is_not_shown(body: bytes) -> None:
    assert SHOW.shown is not None
    with pytest.raises(UpstreamBrokenError):
        SHOW.shown(body, CALL, lambda _: True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats(allow_nan=False) | st.sampled_from(PATHS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ANSWER, *PATHS, "a"]), inner),
    max_leaves=30,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*ANSWER, "a"]), JSON))
def test_no_answer_breaks_the_rebuilding_nor_shows_a_path(answer: dict[str, Any]) -> None:
    text = orjson.dumps(shown(answer)).decode().replace("\\\\", "\\")
    assert not any(path in text for path in PATHS)
