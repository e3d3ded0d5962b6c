"""What of a request the policy lets through: each bound on either side of it, in every spelling."""

from dataclasses import asdict
from typing import Any

import pytest

from neuronetz_gateway.domain.request_policy import KeyPolicy, RequestPolicy
from neuronetz_gateway.errors import InvalidRequestError, RequestBeyondPolicyError
from neuronetz_gateway.surfaces import anthropic, ollama, openai, responses
from neuronetz_gateway.surfaces.surface import Call, Endpoint, RequestRules

LEFT_OUT = object()
GENERATE = {"model": "smollm2", "prompt": "hello"}
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def read(endpoint: Endpoint, body: dict[str, Any], **policy: Any) -> Call:
    assert endpoint.inference is not None
    return endpoint.inference.read(body, RequestRules(policy=RequestPolicy(**policy)))


def generating(extra: dict[str, Any], **policy: Any) -> Call:
    return read(ollama.GENERATE, GENERATE | extra, **policy)


@pytest.mark.promise("N6")
@pytest.mark.parametrize(
    ("most", "asked", "sent"),
    [
        (0, "10m", LEFT_OUT), (0, -1, LEFT_OUT), (0, 0, LEFT_OUT), (0, {"any": "thing"}, LEFT_OUT),
        (600, 600, 600), (600, "10m", 600), (600, 601, 600), (600, "10m0.001s", 600), (600, "9999h", 600),
        (600, -1, 600), (600, "-1", 600), (600, "-1ns", 600), (600, 9_000_000_000, 600), (600, "400", 400),
        (600, 0, 300), (600, "0s", 300), (600, 299, 300), (600, "1ns", 300), (600, 450.5, 450.5), (600, "+8m", 480),
        (600, "999999999999h", 600), (60, 0, 60), (60, "1h", 60), (60, 60, 60), (60, 30, 60),
    ],
)  # fmt: skip
def test_keep_alive_neither_pins_nor_evicts(most: int, asked: Any, sent: Any) -> None:
    call = generating({"keep_alive": asked}, max_keep_alive_seconds=most)
    assert call.body.get("keep_alive", LEFT_OUT) == sent
    kept = sent is not LEFT_OUT and asked in {sent, str(sent), "10m", "+8m"}
    assert call.adjusted == (() if kept else ("keep_alive",))


@pytest.mark.parametrize("asked", ["soon", "5d", True, [], {}, "", 1e18, "1h" * 7, "0x1p3s", "١s"])
def test_a_keep_alive_that_is_no_time_is_refused_where_it_would_be_sent(asked: Any) -> None:
    with pytest.raises(InvalidRequestError, match="'keep_alive' must be"):
        generating({"keep_alive": asked}, max_keep_alive_seconds=600)


@pytest.mark.promise("N6")
@pytest.mark.parametrize(
    ("most", "asked", "sent", "adjusted"),
    [
        (0, -1, -1, False), (0, 0, 0, False), (0, "24h", "24h", False),
        (600, 0, 0, False), (600, "10m", "10m", False), (600, -1, 600, True), (600, "-1m", 600, True),
        (600, "11m", 600, True), (600, 601, 600, True),
    ],
)  # fmt: skip
def test_a_load_keeps_a_model_no_longer_than_the_policy_says(most: int, asked: Any, sent: Any, adjusted: bool) -> None:
    """A key that may load, whose policy said 10 minutes, used to pin a model for ever all the same."""
    call = read(ollama.GENERATE, {"model": "smollm2", "keep_alive": asked}, max_keep_alive_seconds=most)
    assert call.loads
    assert call.body["keep_alive"] == sent
    assert call.adjusted == (("keep_alive",) if adjusted else ())


@pytest.mark.promise("N6")
@pytest.mark.parametrize(
    ("own", "asked", "sent"),
    [
        (0, -1, LEFT_OUT), (0, "24h", LEFT_OUT), (0, 1, LEFT_OUT), (0, "1ns", LEFT_OUT), (0, "-1m", LEFT_OUT),
        (0, 0, 0), (0, "0", 0), (0, "0s", "0s"), (60, -1, 60), (60, "24h", 60), (60, 30, 30), (60, 0, 0),
        (None, -1, 600), (None, "24h", 600), (None, 30, 30),
    ],
)  # fmt: skip
def test_a_load_keeps_a_model_no_longer_than_the_key_itself_may(own: int | None, asked: Any, sent: Any) -> None:
    """`--keep-alive none` was to narrow a key that may load. For loads 0 was without end, though: it pinned models for
    ever, past the ten minutes that the settings gave to every other key."""
    policy = RequestPolicy(max_keep_alive_seconds=600).changed_by(KeyPolicy(max_keep_alive_seconds=own, max_images=1))
    assert ollama.CHAT.inference is not None
    call = ollama.CHAT.inference.read({"model": "smollm2", "keep_alive": asked}, RequestRules(policy=policy))
    assert call.loads
    assert call.body.get("keep_alive", LEFT_OUT) == sent
    assert call.adjusted == (() if sent in {asked, str(asked)} or str(sent) == asked else ("keep_alive",))


@pytest.mark.promise("N6")
@pytest.mark.parametrize(
    ("most", "asked", "sent"),
    [(0, 4096, LEFT_OUT), (0, "x", LEFT_OUT), (8192, 4096, 4096), (8192, 8192, 8192), (8192, 8193, 8192), (8192, 1, 1)],
)
def test_num_ctx_is_bounded(most: int, asked: Any, sent: Any) -> None:
    call = generating({"options": {"num_ctx": asked, "seed": 7}}, max_num_ctx=most)
    assert call.body["options"].get("num_ctx", LEFT_OUT) == sent
    assert call.body["options"]["seed"] == 7
    assert call.adjusted == (() if sent == asked else ("options.num_ctx",))


@pytest.mark.parametrize("asked", [0, -1, 1.5, "4096", True, 1 << 63])
def test_a_num_ctx_that_is_no_size_is_refused_where_it_would_be_sent(asked: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"'options\.num_ctx' must be"):
        generating({"options": {"num_ctx": asked}}, max_num_ctx=8192)


@pytest.mark.promise("N6")
def test_raw_and_context_go_up_where_the_policy_says_so() -> None:
    extra = {"raw": True, "context": [1, 2, 3]}
    call = generating(extra, allow_raw=True, allow_context=True)
    assert (call.body["raw"], call.body["context"], call.adjusted) == (True, [1, 2, 3], ())
    call = generating(extra, allow_raw=False, allow_context=False)
    assert not {"raw", "context"} & call.body.keys()
    assert set(call.adjusted) == {"raw", "context"}


@pytest.mark.parametrize(
    ("most", "asked", "sent"),
    [
        (20, 20, 20), (20, 21, 20), (20, True, True), (20, False, False), (5, 20, 5), (5, True, True),
        (0, True, LEFT_OUT), (0, 5, LEFT_OUT), (0, 0, 0), (0, False, False), (0, 1 << 62, LEFT_OUT),
    ],
)  # fmt: skip
def test_logprobs_are_bounded(most: int, asked: Any, sent: Any) -> None:
    for endpoint, body in (
        (ollama.GENERATE, GENERATE),
        (openai.CHAT_COMPLETIONS, {"model": "smollm2", "messages": [{"role": "user", "content": "x"}]}),
    ):
        call = read(endpoint, body | {"top_logprobs": asked}, max_logprobs=most)
        assert call.body.get("top_logprobs", LEFT_OUT) == sent
        assert call.adjusted == (() if sent is asked or sent == asked else ("top_logprobs",))


def _bodies(count: int) -> list[tuple[Endpoint, dict[str, Any]]]:
    """Bodies with so many images, wherever a protocol has a place for one, spread over all its messages."""
    native = [{"role": "user", "content": "x", "images": ["iVBORw0KGgo="]} for _ in range(count)]
    parts = [
        {"type": "image_url", "image_url": PICTURE},
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "input_audio", "input_audio": {"data": "iVBORw0KGgo=", "format": "wav"}},
    ]
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [block]}
    text: dict[str, Any] = {"role": "user", "content": "x"}
    return [
        (ollama.GENERATE, GENERATE | {"images": ["iVBORw0KGgo="] * count}),
        (ollama.CHAT, {"model": "smollm2", "messages": [text, *native]}),
        (
            openai.CHAT_COMPLETIONS,
            {"model": "m", "messages": [text, *({"role": "user", "content": [parts[i % 3]]} for i in range(count))]},
        ),
        (
            responses.RESPONSES,
            {
                "model": "m",
                "input": [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}] * count}, text],
            },
        ),
        (
            anthropic.MESSAGES,
            {
                "model": "m",
                "max_tokens": 5,
                "messages": [
                    text,
                    *({"role": "user", "content": [result if i % 2 else block]} for i in range(count)),
                ],
            },
        ),
    ]


def test_the_images_of_a_whole_request_are_counted() -> None:
    for endpoint, body in _bodies(3):
        assert read(endpoint, body, max_images=3).adjusted == (), endpoint.path
    for endpoint, body in _bodies(4):
        with pytest.raises(RequestBeyondPolicyError, match="send at most 3 in one request"):
            read(endpoint, body, max_images=3)
    for endpoint, body in _bodies(1):
        with pytest.raises(RequestBeyondPolicyError, match="this key may send none"):
            read(endpoint, body, max_images=0)


@pytest.mark.parametrize("sound", ["aaaa", [], {"data": 5}, {"data": ["aaaa"]}, True])
def test_sound_that_ollama_would_refuse_is_refused(sound: Any) -> None:
    """Found by reading openai.go: `input_audio` reached Ollama unread, by which images went past their bound."""
    part = {"type": "input_audio", "input_audio": sound}
    with pytest.raises(InvalidRequestError, match=r"'messages\[0\]\.content\[0\]\.input_audio(\.data)?' must be"):
        read(openai.CHAT_COMPLETIONS, {"model": "m", "messages": [{"role": "user", "content": [part]}]})


def test_an_image_too_many_is_named_by_its_place_alone() -> None:
    """The place of a block had the dot behind it that leads on to its fields."""
    for endpoint, body in _bodies(1):
        with pytest.raises(RequestBeyondPolicyError) as refused:
            read(endpoint, body, max_images=0)
        assert refused.value.field is not None
        assert not refused.value.field.endswith("."), endpoint.path
        assert f"'{refused.value.field}' is one image too many" in refused.value.message


def test_a_key_has_what_is_its_own_and_the_rest_of_the_settings() -> None:
    settings = RequestPolicy(max_num_ctx=8, allow_context=True, max_images=7)
    own = KeyPolicy(max_num_ctx=0, allow_context=False, max_keep_alive_seconds=60)
    changed = settings.changed_by(own)
    assert (changed.max_num_ctx, changed.allow_context, changed.max_keep_alive_seconds) == (0, False, 60)
    assert changed.max_images == 7
    assert settings.changed_by(KeyPolicy()) == settings
    assert asdict(changed).keys() == asdict(settings).keys(), "a key sees what holds for it, not where that is from"


@pytest.mark.parametrize(
    ("of_settings", "own", "may"), [(0, None, None), (600, None, 600), (0, 0, 0), (600, 0, 0), (0, 60, 60)]
)
def test_a_load_is_unbounded_by_the_settings_alone(of_settings: int, own: int | None, may: int | None) -> None:
    settings = RequestPolicy(max_keep_alive_seconds=of_settings)
    assert settings.changed_by(KeyPolicy(max_keep_alive_seconds=own, allow_raw=True)).load_seconds == may
