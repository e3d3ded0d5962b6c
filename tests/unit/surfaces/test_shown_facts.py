"""What /api/show tells of a model, read so that no prompt can be longer than it says."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.errors import UpstreamBrokenError
from neuronetz_gateway.surfaces.shown_facts import facts_in, joined

GGUF = {"details": {"format": "gguf"}}


def facts(**shown: Any) -> ModelFacts:
    return facts_in({**GGUF, **shown}, least_template_tokens=1000)


def trained(tokens: object, architecture: str = "llama") -> dict[str, Any]:
    return {"model_info": {"general.architecture": architecture, f"{architecture}.context_length": tokens}}


def parameters(num_ctx: str) -> dict[str, str]:
    return {"parameters": f'stop                           "num_ctx 1"\nnum_ctx                        {num_ctx}'}


# --- what stands before every prompt


@pytest.mark.promise("B1")
def test_every_byte_of_template_system_prompt_and_messages_counts() -> None:
    assert facts(template="ü" * 5000).template_tokens == 10_000
    assert facts(template="x" * 5000, system="ü" * 10_000).template_tokens == 25_000
    messages = [{"role": "user", "content": "x" * 300}, {"role": "assistant", "content": "\x00" * 100}]
    told = facts(template="x" * 5000, messages=messages).template_tokens
    assert told >= 5000 + 300 + 100 + 2 * 16
    assert told < 5000 + 1200


@pytest.mark.promise("B1")
@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"template": ""},
        {"template": "{{ .Prompt }}"},
        {"template": None, "system": None, "messages": None},
        {"template": 5, "system": ["x"], "messages": "x"},
        {"modelfile": "FROM x\nRENDERER qwen3-coder\nPARSER qwen3-coder\n", "template": "{{ .Prompt }}"},
    ],
)
def test_a_template_that_may_not_be_the_one_that_is_used_counts_the_default(shown: dict[str, Any]) -> None:
    assert facts(**shown).template_tokens == 1000
    if "system" not in shown:
        assert facts(**shown, system="x" * 300).template_tokens == 1300


# --- the context


@pytest.mark.parametrize(
    ("shown", "tokens"),
    [
        (trained(131072), 131072),
        (trained(4096), 4096),
        (parameters("8192"), 8192),
        (parameters("8192") | trained(131072), 8192),
        (parameters("131072") | trained(4096), 4096),
        (parameters("262144.0") | trained(1 << 20), 262144),
        (parameters("1e+06"), 1_000_192),
    ],
)
def test_the_context_is_the_smaller_of_what_was_chosen_and_what_was_trained(shown: dict[str, Any], tokens: int) -> None:
    assert facts(**shown).context_tokens == tokens


def test_a_context_is_never_told_smaller_than_the_runner_makes_it() -> None:
    """llama.cpp rounds it up, Ollama raises it for models that see images."""
    assert facts(**parameters("5000")).context_tokens == 5120
    assert facts(**trained(1000)).context_tokens == 1024
    assert facts(**parameters("512"), **trained(131072)).context_tokens == 2048
    assert facts(**parameters("512"), **trained(512)).context_tokens == 512


@pytest.mark.promise("B1")
@pytest.mark.parametrize(
    "shown",
    [
        {},
        parameters("0"),
        parameters("-1"),
        parameters("many"),
        parameters("nan"),
        parameters("1e400"),
        parameters("4096.5"),
        {"parameters": "num_ctx"},
        {"parameters": ["num_ctx 4096"]},
        trained(0),
        trained("4096"),
        trained(True),
        trained(4096.5),
        trained(1 << 40),
        {"model_info": {"llama.context_length": 4096}},
        {"model_info": {"general.architecture": "bert", "llama.context_length": 4096}},
        {"model_info": [4096]},
        {"details": {"format": "safetensors"}} | trained(4096) | parameters("4096"),
        {"details": {}} | trained(4096),
        {"details": None} | trained(4096),
    ],
)
def test_a_context_that_is_not_plainly_told_is_not_known(shown: dict[str, Any]) -> None:
    assert facts(**shown).context_tokens is None


def test_of_several_contexts_the_greatest_counts() -> None:
    assert facts(parameters="num_ctx 4096\nnum_ctx 8192").context_tokens == 8192


# --- the rest


def test_messages_that_cannot_be_measured_make_the_model_unknown() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    with pytest.raises(UpstreamBrokenError):
        facts(messages=[deep])


def test_of_two_models_of_one_name_the_greater_figures_hold() -> None:
    assert joined(ModelFacts(5, 100), ModelFacts(7, 50)) == ModelFacts(7, 100)
    assert joined(ModelFacts(5, 100), ModelFacts(4, None)) == ModelFacts(5, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats() | st.sampled_from(["gguf", "num_ctx 9"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["format", "general.architecture", "gguf.context_length"]), inner)
    ),
    max_leaves=10,
)
NAMES = ["template", "system", "messages", "details", "parameters", "model_info", "modelfile"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_no_answer_breaks_the_reading(shown: dict[str, Any]) -> None:
    told = facts_in(shown, least_template_tokens=1000)
    assert told.template_tokens >= 1000
    assert told.context_tokens is None or told.context_tokens >= 256
