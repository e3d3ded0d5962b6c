"""How Ollama's router finds a route for a request target (OLLAMA.md §1, §2)."""

import ipaddress
import posixpath
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, urlsplit


class Kind(StrEnum):
    INFERENCE = "inference"
    METADATA = "metadata"
    DANGEROUS = "dangerous"  # mutation, administration, account or egress: a hit is a failure of the gateway


class Family(StrEnum):
    NATIVE = "native"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    kind: Kind
    family: Family


@dataclass(frozen=True, slots=True)
class Match:
    """Where a target led: to a route (status 200), or to a refusal of the router."""

    route: Route | None = None
    parameter: str = ""
    status: int = 200
    location: str = ""
    allow: str = ""


def _family(path: str) -> Family:
    if path == "/v1/messages":
        return Family.ANTHROPIC
    return Family.OPENAI if path.startswith("/v1/") else Family.NATIVE


_TABLE = {
    Kind.INFERENCE: (
        "POST /api/generate, POST /api/chat, POST /api/embed, POST /api/embeddings, POST /v1/chat/completions,"
        "POST /v1/completions, POST /v1/embeddings, POST /v1/responses, POST /v1/messages,"
        "POST /v1/audio/transcriptions"
    ),
    Kind.METADATA: (
        "GET /, HEAD /, GET /api/version, HEAD /api/version, GET /api/status, GET /api/tags, HEAD /api/tags,"
        "POST /api/show, GET /api/ps, GET /v1/models, GET /v1/models/:model,"
        "GET /api/experimental/model-recommendations"
    ),
    Kind.DANGEROUS: (
        "POST /api/pull, POST /api/push, DELETE /api/delete, POST /api/copy, POST /api/create,"
        "POST /api/blobs/:digest, HEAD /api/blobs/:digest, POST /api/me, POST /api/signout,"
        "DELETE /api/user/keys/:encodedKey, POST /api/experimental/web_search, POST /api/experimental/web_fetch,"
        # Versions before and after the one examined (§1.2, §1.3).
        "GET /api/experimental/aliases, POST /api/experimental/aliases, DELETE /api/experimental/aliases,"
        "POST /v1/images/generations, POST /v1/images/edits, POST /v1/systemone, POST /v1/audio/speech"
    ),
}
ROUTES = tuple(
    Route(method, path, kind, _family(path))
    for kind, entries in _TABLE.items()
    for method, path in (entry.split() for entry in entries.split(","))
)
_LITERAL = {(route.method, route.path): route for route in ROUTES if ":" not in route.path}
_WITH_PARAMETER = tuple((re.compile(re.sub(r":\w+", "([^/]+)", route.path)), route) for route in ROUTES)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def resolve(method: str, target: str) -> Match:
    """Where Go's ServeMux, then gin, would lead this target."""
    path = _path_of(target)
    if _BAD_ESCAPE.search(path) or not path.startswith("/"):
        return Match(status=400)
    cleaned = _cleaned(path)
    if cleaned != path and method != "CONNECT":
        return Match(status=307, location=cleaned)
    decoded = unquote(path)
    found = _find(method, decoded)
    if found is not None:
        return found
    if decoded.endswith("/") and decoded != "/" and _find(method, decoded[:-1]) is not None:
        return Match(status=301 if method == "GET" else 307, location=decoded[:-1])
    allowed = [other for other in ("GET", "HEAD", "POST", "DELETE") if _find(other, decoded) is not None]
    return Match(status=405, allow=", ".join(allowed)) if allowed else Match(status=404)


def _find(method: str, path: str) -> Match | None:
    route = _LITERAL.get((method, path))
    if route is not None:
        return Match(route)
    for pattern, candidate in _WITH_PARAMETER:
        hit = pattern.fullmatch(path) if candidate.method == method and pattern.groups else None
        if hit is not None:
            return Match(candidate, hit[1])
    return None


def _path_of(target: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", target):
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    return target.partition("?")[0].partition("#")[0]


def _cleaned(path: str) -> str:
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


def forbidden(headers: list[tuple[str, str]]) -> bool:
    """Whether the checks of Host and Origin refuse the request with an empty 403 (§5.4, listening on loopback)."""
    values = {name.lower(): value for name, value in headers}
    origin = values.get("origin")
    return not _is_local(values.get("host", "")) or (origin is not None and not _is_local(urlsplit(origin).netloc))


def _is_local(authority: str) -> bool:
    try:
        host = urlsplit("//" + authority).hostname or ""
    except ValueError:  # a broken IPv6 literal
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in {"", "localhost"} or host.endswith((".localhost", ".local", ".internal"))
    return address.is_loopback or address.is_unspecified or (address.is_private and not address.is_link_local)
