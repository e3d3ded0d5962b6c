"""Lists of models, reduced to those that a caller may use."""

from typing import Any

import orjson

from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.errors import ModelNotFoundError, UpstreamBrokenError
from neuronetz_gateway.surfaces.framing import json_object
from neuronetz_gateway.surfaces.host_paths import is_host_path
from neuronetz_gateway.surfaces.surface import Allows, Call, JsonObject


def tags(body: bytes, _: Call, allows: Allows) -> bytes:
    """The answer of /api/tags or /api/ps, its shape kept; a parent is named if it is a model that the caller may use.

    Raises UpstreamBrokenError: the body is no such list, so that nothing of it may be shown.
    """
    return _reduced(body, "models", ("name", "model"), allows)


def models(body: bytes, _: Call, allows: Allows) -> bytes:
    """The answer of /v1/models; see tags."""
    return _reduced(body, "data", ("id",), allows)


def model(body: bytes, call: Call, allows: Allows) -> bytes:
    """The entry of /v1/models that a call names, as it is listed there; see tags.

    Raises ModelNotFoundError: there is none that may be shown.
    """
    reduced = orjson.loads(_reduced(body, "data", ("id",), lambda name: name == call.model and allows(name)))
    entries = reduced.get("data")
    if not entries:
        raise ModelNotFoundError(call.model)
    return orjson.dumps(entries[0])


def _reduced(body: bytes, field: str, names: tuple[str, ...], allows: Allows) -> bytes:
    listing = json_object(body)
    entries = listing.get(field) if listing else None
    if listing is None or not (entries is None or type(entries) is list):
        raise UpstreamBrokenError("The model server's list of models could not be read.")
    if entries is not None:
        listing[field] = [_shown(entry, allows) for entry in entries if _is_allowed(entry, names, allows)]
    try:
        return orjson.dumps(listing)
    except orjson.JSONEncodeError:  # nested deeper than the encoder goes
        raise UpstreamBrokenError("The model server's list of models could not be read.") from None


def _is_allowed(entry: Any, names: tuple[str, ...], allows: Allows) -> bool:
    """Every name of an entry must be allowed; one that stands for a model elsewhere never is (OLLAMA §4.1)."""
    if type(entry) is not dict or entry.get("remote_host") or entry.get("remote_model"):
        return False
    given = [entry[name] for name in names if name in entry]
    return bool(given) and all(type(name) is str and _allows(name, allows) for name in given)


def _shown(entry: JsonObject, allows: Allows) -> JsonObject:
    """An entry, less a parent that is a file of the host or another's model."""
    details = entry.get("details")
    if type(details) is not dict:
        return entry
    parent = details.get("parent_model")
    if not parent or (type(parent) is str and not is_host_path(parent) and _allows(parent, allows)):
        return entry
    return entry | {"details": details | {"parent_model": ""}}


def _allows(name: str, allows: Allows) -> bool:
    try:
        return allows(canonical(name))
    except ModelNameError:
        return False
