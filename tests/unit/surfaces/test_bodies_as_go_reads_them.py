"""What the gateway saw in a body is what Go's decoder sees in it; what goes up is what was seen."""

import zlib
from collections import Counter
from typing import Any

import pytest

from neuronetz_gateway.domain.model_name import canonical
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.strict_json import parse
from neuronetz_gateway.surfaces.surface import Call, Endpoint, RequestRules
from tests.support.go_json import STRUCTS, GoError, GoRead, fold, go, tree_of
from tests.support.mutations import Mutator, smallest
from tests.support.valid_bodies import READING, SPEECHES, name_of

SEED = 20261123
GRANTED = 4321
RULES = RequestRules()
NEVER_SENT = frozenset({"raw", "template", "shift", "_debug_render_only", "keep_alive"})
RUNNER_OPTIONS = frozenset(
    {"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap", "use_mlock", "numa", "num_keep"}
)


class Mismatch(AssertionError):  # noqa: N818 - it is what the test finds, not what the gateway raises
    pass


def must(holds: bool, *said: object) -> None:
    if not holds:
        raise Mismatch(*said)


def call_of(endpoint: Endpoint, body: bytes) -> Call | None:
    """The call that the gateway makes of a body, None where it refuses it; every other exception passes."""
    reads = endpoint.inference.read if endpoint.inference else endpoint.asks
    assert reads is not None
    try:
        return reads(parse(body, max_depth=RULES.max_depth, max_nodes=RULES.max_nodes), RULES)
    except GatewayError as error:
        must(400 <= error.status < 500, "refused with", error.status)
        return None


def check(endpoint: Endpoint, body: bytes) -> bool:
    """Whether the body was taken. Raises Mismatch."""
    call = call_of(endpoint, body)
    if call is None:
        return False
    try:
        meant = go(endpoint.path, body)
    except GoError as error:
        raise Mismatch("the gateway takes what is no JSON for Go:", error) from None
    # A wrong type in a field that is left out, or in one that only Ollama knows, costs its caller a 400 there, no more.
    refused = meant.wrong.keys() - NEVER_SENT - {"verbose", "system", "suffix", "instructions"}
    must(not refused, "the gateway takes what Go refuses:", {name: meant.wrong[name] for name in refused})
    must(canonical(meant.model) == call.model, "Go's model", meant.model, "the gateway's", call.model)
    if endpoint.inference is not None:
        raw = endpoint.inference.write(call, GRANTED)
        _check_sent(endpoint, call, meant, go(endpoint.path, raw), tree_of(raw))
    return True


def _check_sent(endpoint: Endpoint, call: Call, meant: GoRead, got: GoRead, tree: Any) -> None:
    speech = SPEECHES[endpoint.path]
    must(not (got.wrong.keys() & {"model", "stream", "options", *speech.subject}), "what is sent is wrong:", got.wrong)
    must(got.fields.get("model") == call.model, "sent", got.fields.get("model"), "checked", call.model)
    folded = Counter(fold(name) for name, _ in tree)
    read = STRUCTS[endpoint.path].keys() & {*speech.subject, "model", "options", "stream", "max_tokens"}
    doubled = [name for name in read if folded[name] > 1]
    must(not doubled, "sent twice:", doubled)
    if speech.streams is not None:
        must(meant.streams(by_default=speech.streams) is call.streamed, "Go streams otherwise than the gateway saw")
        must(got.streams(by_default=speech.streams) is call.streamed, "what is sent streams otherwise")
    if call.loads:
        return
    must(not (folded.keys() & NEVER_SENT & STRUCTS[endpoint.path].keys()), "sent although dropped:", folded)
    options = got.fields.get("options") or {}
    must(not (options.keys() & RUNNER_OPTIONS), "runner options sent:", options)
    if speech.cap is not None:
        must(got.cap(speech.cap) == GRANTED, "the cap is", got.cap(speech.cap))
        asked = _asked(endpoint, meant)
        must(_bounded(call.output_asked_tokens) == _bounded(asked), "asked", asked, "seen", call.output_asked_tokens)
    for subject in speech.subject:
        changed = any(path.startswith(subject) for path in call.adjusted)
        must(changed or meant.fields.get(subject) == got.fields.get(subject), "another", subject, "is sent")


def _asked(endpoint: Endpoint, meant: GoRead) -> int | None:
    """What the caller asked for at most, by any of the names; not more than 0 is no cap for Ollama."""
    asked = [meant.cap(place) for place in SPEECHES[endpoint.path].cap_fields]
    positive = [cap for cap in asked if cap is not None and cap > 0]
    return min(positive, default=None)


def _bounded(cap: int | None) -> int:
    """An option is a float64 to Go: beyond these digits two caps are alike, far above what any key may have."""
    return 1 << 53 if cap is None else min(cap, 1 << 53)


def seed_of(endpoint: Endpoint) -> int:
    return SEED + zlib.crc32(name_of(endpoint).encode())


def run(endpoint: Endpoint, count: int) -> Counter[bool]:
    taken: Counter[bool] = Counter()
    for number, body in enumerate(Mutator(seed_of(endpoint)).bodies(SPEECHES[endpoint.path].bodies(), count)):
        try:
            taken[check(endpoint, body)] += 1
        except Exception as error:  # noqa: BLE001 - whatever the gateway raises is the finding
            pytest.fail(_story(endpoint, number, body, error))
    return taken


def _story(endpoint: Endpoint, number: int, body: bytes, error: Exception) -> str:
    def fails(shorter: bytes) -> bool:
        try:
            check(endpoint, shorter)
        except Exception as other:  # noqa: BLE001 - whatever the gateway raises is the finding
            return type(other) is type(error) and other.args[:1] == error.args[:1]
        return False

    return (
        f"{name_of(endpoint)}: {type(error).__name__}: {' '.join(map(str, error.args))}\n"
        f"seed {seed_of(endpoint)}, body number {number}:\n{body!r}\nas small as it fails:\n{smallest(body, fails)!r}"
    )


def test_every_endpoint_that_reads_has_a_valid_body() -> None:
    assert {endpoint.path for endpoint in READING} <= SPEECHES.keys()


@pytest.mark.parametrize("endpoint", READING, ids=name_of)
def test_the_valid_bodies_are_taken(endpoint: Endpoint) -> None:
    for body in SPEECHES[endpoint.path].bodies():
        from_python = Mutator(0).as_written(body)
        assert check(endpoint, from_python), body


@pytest.mark.promise("N3", "N6", "N1")
@pytest.mark.parametrize("endpoint", READING, ids=name_of)
def test_a_thousand_mutated_bodies_are_read_as_go_reads_them_or_refused(endpoint: Endpoint) -> None:
    print(f"seed {seed_of(endpoint)}")
    taken = run(endpoint, 1_000)
    assert taken[True] > 100, "too few are taken for the test to see anything"
    assert taken[False] > 100


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.promise("N3", "N6", "N1")
@pytest.mark.parametrize("endpoint", READING, ids=name_of)
def test_a_hundred_thousand_mutated_bodies_are_read_as_go_reads_them_or_refused(endpoint: Endpoint) -> None:
    print(f"seed {seed_of(endpoint)}")
    run(endpoint, 100_000 // len(READING))
