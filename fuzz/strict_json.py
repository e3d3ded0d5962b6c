"""Target: a body that the gateway takes is what both Python's and Go's decoders take it for."""

import json
from typing import Any

import orjson

from fuzz.target import Target, is_fit_to_be_shown, must
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.strict_json import check_exactly, parse
from tests.support.go_scanner import Number, Object, first_value
from tests.support.mutations import HEADS, NUMBERS, SCALARS, STRINGS, TAILS, Mutator
from tests.support.valid_bodies import SPEECHES

_MAX_DEPTH, _MAX_NODES = 64, 400


def check(data: bytes) -> None:
    try:
        tree = parse(data, max_depth=_MAX_DEPTH, max_nodes=_MAX_NODES)
    except InvalidRequestError as error:
        must(is_fit_to_be_shown(error.message), "an error that is not fit to be shown")
        return
    check_exactly(data)
    must(tree == json.loads(data), "Python reads it otherwise")
    nodes, depth = _same(tree, first_value(data))
    must(depth <= _MAX_DEPTH and nodes <= _MAX_NODES, "beyond the bounds:", depth, nodes)
    must(orjson.loads(orjson.dumps(tree)) == tree, "it is sent otherwise")
    must(_bare(first_value(orjson.dumps(tree))) == tree, "what is sent is read otherwise by Go")


def _same(value: Any, go: Any, depth: int = 0) -> tuple[int, int]:
    """The values of a tree, its depth; the other tree is Go's, in the order of the document with each duplicate."""
    if isinstance(value, dict):
        must(isinstance(go, Object) and [name for name, _ in go] == list(value), "other keys to Go")
        inner = [_same(value[name], item, depth + 1) for name, item in go]
    elif isinstance(value, list):
        must(type(go) is list and len(go) == len(value), "another list to Go")
        inner = [_same(*pair, depth + 1) for pair in zip(value, go, strict=True)]
    else:
        must(_bare(go) == value and type(_bare(go)) is type(value), "another value to Go:", value)
        return 1, depth
    return 1 + sum(nodes for nodes, _ in inner), max((below for _, below in inner), default=depth + 1)


def _bare(go: Any) -> Any:
    if isinstance(go, Number):
        return int(go.text) if go.text.lstrip("-").isdigit() else go.float64
    if isinstance(go, Object):
        return {name: _bare(item) for name, item in go}
    return [_bare(item) for item in go] if type(go) is list else go


def _seeds() -> list[bytes]:
    mutator = Mutator(7)
    return [body for speech in SPEECHES.values() for body in mutator.bodies(speech.bodies(), 20)]


TARGET = Target(check, _seeds, (*NUMBERS, *SCALARS, *STRINGS, *TAILS, *HEADS))
