"""The one spelling of a model's name, under which it is checked, sent, counted."""

import re
from functools import lru_cache

MAX_CHARACTERS = 600  # a host of 350, three parts of 80, their separators (Ollama types/model/name.go)

_DEFAULT_HOST = "registry.ollama.ai"
_DEFAULT_NAMESPACE = "library"
_DEFAULT_TAG = "latest"
_HOST = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9_][a-z0-9_-]{0,79}", re.ASCII)
_PART = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,79}", re.ASCII)
_PARTS_AT_MOST = 3
_KEY_LIKE = re.compile(r"nz_[0-9a-z]{41}", re.ASCII | re.IGNORECASE)


class ModelNameError(ValueError):
    """A text that names no model which this gateway may reach; its message says why."""


@lru_cache(maxsize=1024)
def canonical(name: str) -> str:
    """The canonical name, `[[host/]namespace/]model:tag` in lower case, of any accepted spelling (OLLAMA §4.1).

    The tag is always written out; Ollama's own host with its default namespace is left out. Idempotent.

    Raises ModelNameError: not a model name, or one with which Ollama would leave the machine.
    """
    _check_characters(name)
    path, colon, tag = name.lower().partition(":")
    if not colon:
        tag = _DEFAULT_TAG
    _check_tag(tag)
    return f"{_canonical_path(path)}:{tag}"


def _check_characters(name: str) -> None:
    if not name:
        raise ModelNameError("the model name is empty")
    if len(name) > MAX_CHARACTERS:
        raise ModelNameError(f"the model name is longer than {MAX_CHARACTERS} characters")
    if not name.isascii() or not name.isprintable() or " " in name:
        raise ModelNameError("a model name has only ASCII letters, digits and _ . - : /, without white space")
    if _KEY_LIKE.search(name):  # the name of a model is logged, kept, asked for: a key in its place would be too
        raise ModelNameError("this is a key: it goes into the header Authorization, after Bearer")
    if "://" in name:
        raise ModelNameError("a model name has no scheme: leave out everything up to ://")
    if "@" in name:
        raise ModelNameError("a model is named by its tag, not by a digest: leave out everything from @ on")


def _check_tag(tag: str) -> None:
    """Refuses what Ollama reads as a direction instead of a tag: cloud names leave the machine (modelref.go:99)."""
    parts = tag.split(":")
    if "cloud" in parts or any(part.endswith("-cloud") for part in parts):
        raise ModelNameError("cloud models are not served here")
    if "local" in parts:
        raise ModelNameError("leave out the tag 'local': every model here is local")
    if not _PART.fullmatch(tag):
        raise ModelNameError("the tag of a model name is 1 to 80 letters, digits or _ . -, as in smollm2:latest")


def _canonical_path(path: str) -> str:
    parts = path.split("/")
    if len(parts) > _PARTS_AT_MOST:
        raise ModelNameError("a model name has at most a host, a namespace and a model, divided by /")
    *prefix, model = parts
    host, namespace = ("", *prefix)[-2:] if prefix else ("", "")
    well_formed = (
        _PART.fullmatch(model)
        and (not prefix or _NAMESPACE.fullmatch(namespace))
        and (len(prefix) < _PARTS_AT_MOST - 1 or _HOST.fullmatch(host))
    )
    if not well_formed:
        raise ModelNameError("the model name is malformed: write it as model, model:tag or namespace/model:tag")
    if host == _DEFAULT_HOST:
        host = ""
    if not host and namespace == _DEFAULT_NAMESPACE:
        namespace = ""
    return "/".join(part for part in (host, namespace, model) if part)
