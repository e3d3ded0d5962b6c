"""Lists of models, reduced to those that a caller may use."""

from typing import Any

import orjson

from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.errors import UpstreamBrokenError
from neuronetz_gateway.surfaces.framing import json_object
from neuronetz_gateway.surfaces.surface import Allows, Call


def tags(body: bytes, _: Call, allows: Allows) -> bytes:
    """The answer of /api/tags, its shape kept.

    Raises UpstreamBrokenError: the body is no such list, so that nothing of it may be shown.
    """
    return _reduced(body, "models", ("name", "model"), allows)


def models(body: bytes, _: Call, allows: Allows) -> bytes:
    """The answer of /v1/models; see tags."""
    return _reduced(body, "data", ("id",), allows)


def _reduced(body: bytes, field: str, names: tuple[str, ...], allows: Allows) -> bytes:
    listing = json_object(body)
    entries = listing.get(field) if listing else None
    if listing is None or not (entries is None or type(entries) is list):
        raise UpstreamBrokenError("The model server's list of models could not be read.")
    if entries is not None:
        listing[field] = [entry for entry in entries if _is_allowed(entry, names, allows)]
    return orjson.dumps(listing)


def _is_allowed(entry: Any, names: tuple[str, ...], allows: Allows) -> bool:
    """Every name of an entry must be allowed; one that stands for a model elsewhere never is (OLLAMA §4.1)."""
    if type(entry) is not dict or entry.get("remote_host") or entry.get("remote_model"):
        return False
    given = [entry[name] for name in names if name in entry]
    return bool(given) and all(type(name) is str and _allows(name, allows) for name in given)


def _allows(name: str, allows: Allows) -> bool:
    try:
        return allows(canonical(name))
    except ModelNameError:
        return False
