"""The comparison of what the gateway makes of a body with what Go's decoder makes of it."""

from collections import Counter
from typing import Any

from neuronetz_gateway.domain.model_name import canonical
from neuronetz_gateway.domain.request_policy import RequestPolicy
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.strict_json import parse
from neuronetz_gateway.surfaces.surface import Call, Endpoint, RequestRules
from tests.support.go_json import STRUCTS, GoError, GoRead, Number, fold, go, tree_of
from tests.support.valid_bodies import SPEECHES

GRANTED = 4321
RULES = RequestRules()
OPEN_RULES = RequestRules(
    policy=RequestPolicy(max_keep_alive_seconds=3600, max_num_ctx=8192, allow_raw=True, max_logprobs=3)
)

_NEVER_SENT = frozenset({"template", "shift", "_debug_render_only"})
_RUNNER_OPTIONS = frozenset({"num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap", "use_mlock", "numa"})
_OLLAMAS_ALONE = frozenset({"verbose", "system", "suffix", "instructions"})


class Mismatch(AssertionError):  # noqa: N818 - it is what the test finds, not what the gateway raises
    pass


def must(holds: bool, *said: object) -> None:
    if not holds:
        raise Mismatch(*said)


def call_of(endpoint: Endpoint, body: bytes, rules: RequestRules = RULES) -> Call | None:
    """The call that the gateway makes of a body, None where it refuses it; every other exception passes."""
    reads = endpoint.inference.read if endpoint.inference else endpoint.asks
    must(reads is not None, "an endpoint that reads no body")
    try:
        return reads(parse(body, max_depth=rules.max_depth, max_nodes=rules.max_nodes), rules) if reads else None
    except GatewayError as error:
        must(400 <= error.status < 500, "refused with", error.status)
        return None


def check(endpoint: Endpoint, body: bytes, rules: RequestRules = RULES) -> bool:
    """Whether the body was taken. Raises Mismatch."""
    call = call_of(endpoint, body, rules)
    if call is None:
        return False
    try:
        meant = go(endpoint.path, body)
    except GoError as error:
        raise Mismatch("the gateway takes what is no JSON for Go:", error) from None
    # A wrong type in a field that is left out, or in one that only Ollama knows, costs its caller a 400 there, no more.
    refused = meant.wrong.keys() - _not_sent(rules) - _OLLAMAS_ALONE
    must(not refused, "the gateway takes what Go refuses:", {name: meant.wrong[name] for name in refused})
    must(canonical(meant.model) == call.model, "Go's model", meant.model, "the gateway's", call.model)
    if endpoint.inference is not None:
        raw = endpoint.inference.write(call, GRANTED)
        _check_sent(endpoint, call, meant, go(endpoint.path, raw), tree_of(raw), rules)
    return True


def _not_sent(rules: RequestRules) -> frozenset[str]:
    kept = frozenset({"keep_alive"}) if not rules.policy.max_keep_alive_seconds else frozenset[str]()
    return _NEVER_SENT | kept | (frozenset[str]() if rules.policy.allow_raw else frozenset({"raw"}))


def _check_sent(endpoint: Endpoint, call: Call, meant: GoRead, got: GoRead, tree: Any, rules: RequestRules) -> None:
    speech = SPEECHES[endpoint.path]
    must(not (got.wrong.keys() & {"model", "stream", "options", *speech.subject}), "what is sent is wrong:", got.wrong)
    must(got.fields.get("model") == call.model, "sent", got.fields.get("model"), "checked", call.model)
    folded = Counter(fold(name) for name, _ in tree)
    read = STRUCTS[endpoint.path].keys() & {*speech.subject, "model", "options", "stream", "max_tokens", "keep_alive"}
    doubled = [name for name in read if folded[name] > 1]
    must(not doubled, "sent twice:", doubled)
    if speech.streams is not None:
        must(meant.streams(by_default=speech.streams) is call.streamed, "Go streams otherwise than the gateway saw")
        must(got.streams(by_default=speech.streams) is call.streamed, "what is sent streams otherwise")
    if call.loads:
        return
    must(not (folded.keys() & _not_sent(rules) & STRUCTS[endpoint.path].keys()), "sent although dropped:", folded)
    _check_bounds(got, rules)
    if speech.cap is not None:
        must(got.cap(speech.cap) == GRANTED, "the cap is", got.cap(speech.cap))
        asked = _asked(endpoint, meant)
        must(_bounded(call.output_asked_tokens) == _bounded(asked), "asked", asked, "seen", call.output_asked_tokens)
    for subject in speech.subject:
        changed = any(path.startswith(subject) for path in call.adjusted)
        must(changed or meant.fields.get(subject) == got.fields.get(subject), "another", subject, "is sent")


def _check_bounds(got: GoRead, rules: RequestRules) -> None:
    options = got.fields.get("options") or {}
    must(not (options.keys() & _RUNNER_OPTIONS), "runner options sent:", options)
    must(options.get("num_ctx", 0) <= rules.policy.max_num_ctx, "num_ctx sent:", options)
    kept = got.fields.get("keep_alive")
    if isinstance(kept, Number):
        must(0 < kept.float64 <= rules.policy.max_keep_alive_seconds, "keep_alive sent:", kept.text)
    else:
        must(kept is None, "keep_alive sent:", kept)


def _asked(endpoint: Endpoint, meant: GoRead) -> int | None:
    """What the caller asked for at most, by any of the names; not more than 0 is no cap for Ollama."""
    asked = [meant.cap(place) for place in SPEECHES[endpoint.path].cap_fields]
    positive = [cap for cap in asked if cap is not None and cap > 0]
    return min(positive, default=None)


def _bounded(cap: int | None) -> int:
    """An option is a float64 to Go: beyond these digits two caps are alike, far above what any key may have."""
    return 1 << 53 if cap is None else min(cap, 1 << 53)
