"""Target: of what the upstream says about models nothing is shown that a caller may not see."""

import json
from collections.abc import Callable
from typing import Any

import orjson

from fuzz.target import Target, must
from neuronetz_gateway.domain.model_name import canonical
from neuronetz_gateway.errors import NotFoundError, UpstreamBrokenError
from neuronetz_gateway.surfaces import listings, showing
from neuronetz_gateway.surfaces.host_paths import is_host_path
from neuronetz_gateway.surfaces.surface import Allows, Call

_ALLOWED = "fakea:latest"
_CALL = Call(model=_ALLOWED, streamed=False, prompt_bound_tokens=0, output_asked_tokens=0, body={})
_LISTS = ((listings.tags, "models", ("name", "model")), (listings.models, "data", ("id",)))


def allows(name: str) -> bool:
    return name == _ALLOWED


def check(data: bytes) -> None:
    for lists, field, names in _LISTS:
        for entry in (_shown(lists, data) or {}).get(field) or ():
            _check_entry(entry, names)
    alone = _shown(listings.model, data)
    if alone is not None:
        _check_entry(alone, ("id",))
    described = _shown(showing.show, data)
    if described is not None:
        must(not _texts_with_paths(described), "a path of the host is shown")
        must(not described.keys() & {"system", "messages", "remote_host"}, "more than is harmless is shown")


def _shown(shows: Callable[[bytes, Call, Allows], bytes], data: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(shows(data, _CALL, allows))
    except (UpstreamBrokenError, NotFoundError):
        return None
    must(type(document) is dict, "no object is shown")
    return dict(document)


def _check_entry(entry: dict[str, Any], names: tuple[str, ...]) -> None:
    given = [canonical(entry[name]) for name in names if name in entry]
    must(given and set(given) == {_ALLOWED}, "another's model is listed:", entry)
    details = entry.get("details")
    must(
        not (isinstance(details, dict) and _texts_with_paths(details.get("parent_model"))),
        "a path of the host is shown",
    )


def _texts_with_paths(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if is_host_path(value) else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in _texts_with_paths(item)]


def _seeds() -> list[bytes]:
    entry = {"name": "fakea:latest", "model": "fakea:latest", "details": {"parent_model": "/x/.ollama/blobs/sha256-1"}}
    other = {"name": "fakeb:latest", "model": "fakea:latest"}
    documents: list[object] = [
        {"models": [entry, other, {"name": "fakea", "remote_host": "x"}, 5, None]},
        {"data": [{"id": "fakea", "object": "model"}, {"id": "fakeb"}], "object": "list"},
        {"template": "a\n/usr/share/ollama/x\n", "system": "s", "model_info": {"general.x": 1, "y": ["a"], "z": None}},
        {"models": None},
        {"data": {}},
        {
            "details": {"families": ["a"], "parent_model": "x"},
            "tensors": [{"name": "t", "shape": [1]}],
            "parameters": "a b",
        },
    ]
    return [json.dumps(document).encode() for document in documents]


TARGET = Target(
    check,
    _seeds,
    (b'"models":[', b'"data":[', b'"remote_host"', b'"details"', b"blobs/sha256", b"\\\\manifests\\\\", b"[" * 300),
)
