"""One canonical spelling for every name that Ollama would take for the same model (OLLAMA §4.1)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.model_name import MAX_CHARACTERS, ModelNameError, canonical

SAME_MODEL = [
    "fakea",
    "fakea:latest",
    "FAKEA",
    "FakeA:LATEST",
    "library/fakea",
    "LIBRARY/fakea:latest",
    "registry.ollama.ai/library/fakea",
    "registry.ollama.ai/library/fakea:latest",
    "Registry.Ollama.AI/Library/FakeA:Latest",
]

REFUSED = [
    "https://registry.ollama.ai/library/fakea",
    "http://fakea",
    "zzz://fakea",
    "://fakea",
    " fakea",
    "\tfakea\n",
    "fakea\n",
    "\u00a0fakea",
    "\u2003fakea",
    "fakea\u3000",
    "fakea\u200b",
    "fakea:local",
    "fakea:LOCAL",
    "fakea:latest:local",
    "fakea:local:latest",
    "fakea: local",
    "fakea:cloud",
    "fakea:Cloud",
    "fakea: cloud",
    "fakea:120b-cloud",
    "fakea:120B-CLOUD",
    "fakea:latest:cloud",
    "fakea:cloud:latest",
    "fakea:x-cloud:latest",
    "fakea:cloud/x",
    "registry.ollama.ai:443/library/fakea",
    "localhost:5000/library/fakea",
    "fakea@sha256:abc",
    "x:",
    ":x",
    "/x",
    "x/",
    "a//b",
    "../x",
    "./x",
    "a/b/c/d",
    "a.b/c",
    "-x",
    ".x",
    "x:-tag",
    "fakea%3Alatest",
    "fake\x00a",
    "fäkea",
    "\u212aeep",  # the Kelvin sign, which folds to k
    "\u017fmollm2",
    "",
    "x" * 81,
    "x:" + "y" * 81,
    "a" * (MAX_CHARACTERS + 1),
]


@pytest.mark.promise("A13")
@pytest.mark.parametrize("name", SAME_MODEL)
def test_every_accepted_spelling_of_a_model_has_one_canonical_name(name: str) -> None:
    assert canonical(name) == "fakea:latest"


@pytest.mark.promise("A13", "N6")
@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_could_be_read_in_two_ways_or_leave_the_machine_is_refused(name: str) -> None:
    with pytest.raises(ModelNameError):
        canonical(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smollm2:135M", "smollm2:135m"),
        ("someone/model", "someone/model:latest"),
        ("registry.ollama.ai/someone/model:1", "someone/model:1"),
        ("hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "hf.co/bartowski/llama-3.2-1b-instruct-gguf:q4_k_m"),
        ("hf.co/library/x", "hf.co/library/x:latest"),
        ("library/library/x", "library/library/x:latest"),
        ("library", "library:latest"),
        ("gpt-oss-cloud", "gpt-oss-cloud:latest"),  # the suffix acts in a tag alone (modelref.go)
        ("x" * 80 + ":" + "y" * 80, "x" * 80 + ":" + "y" * 80),
    ],
)
def test_what_distinguishes_models_stays(name: str, expected: str) -> None:
    assert canonical(name) == expected


PART = st.text("abcXYZ019_.-:/ ", min_size=1, max_size=12)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=40), PART, st.lists(PART, min_size=1, max_size=4).map("/".join)))
def test_canonical_names_are_their_own_canonical_name(name: str) -> None:
    try:
        once = canonical(name)
    except ModelNameError:
        return
    assert canonical(once) == once
    assert once.isascii()
    assert once == once.lower()
    assert once.count(":") == 1
    assert not once.endswith((":local", "cloud"))


def test_the_message_says_what_to_mend() -> None:
    with pytest.raises(ModelNameError, match="cloud models are not served"):
        canonical("gpt-oss:120b-cloud")
    with pytest.raises(ModelNameError, match="no scheme"):
        canonical("http://x")


@pytest.mark.promise("A7")
@pytest.mark.parametrize("around", ["{}", "{}:latest", "library/{}", "{}/fakea", "x{}", "{}x"])
def test_a_key_in_place_of_a_model_is_refused_unsaid(around: str) -> None:
    """Pasted there a key was logged, audited and asked for at the model server, in lower case but whole."""
    key = "nz_" + "A1b2C3d4E" + "Zz9" * 10 + "Zz"
    for name in (around.format(key), around.format(key.lower())):
        with pytest.raises(ModelNameError) as refused:
            canonical(name)
        assert "this is a key" in str(refused.value)
        assert "zz9" not in str(refused.value).lower()
    assert canonical("nz_model:8b") == "nz_model:8b"
