"""The paths that no key may ever reach, in whatever spelling."""

from urllib.parse import unquote_to_bytes

# OLLAMA §1 classes M, L; §1.3. Each stands for everything below it as well.
_BLOCKED = (
    "/api/pull",
    "/api/push",
    "/api/create",
    "/api/copy",
    "/api/delete",
    "/api/blobs",
    "/api/me",
    "/api/signout",
    "/api/user/keys",
    "/api/experimental",
    "/api/status",
    "/api/codex",
    "/api/usage",
    "/api/balance",
    "/debug",
)
_BLOCKED_PARTS = frozenset(tuple(path[1:].split("/")) for path in _BLOCKED)
_LONGEST = max(len(parts) for parts in _BLOCKED_PARTS)
_AROUND_A_PART = "".join(map(chr, range(0x21))) + "\x7f\xa0"


def is_blocked(raw_path: bytes) -> bool:
    """Whether a path, as it came over the wire, names a route that changes or shows what is the operator's.

    Decoded once, cleaned as a lenient server might clean it: so it also tells for spellings at which Ollama
    itself would say 404 (OLLAMA §2). It decides between 403 and 404 alone; what is served is the table's to say.
    """
    parts: list[str] = []
    path = unquote_to_bytes(_before_query(raw_path)).decode("utf-8", errors="replace").replace("\\", "/")
    for piece in path.split("/"):
        part = piece.partition(";")[0].strip(_AROUND_A_PART).casefold()
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return any(tuple(parts[:length]) in _BLOCKED_PARTS for length in range(1, _LONGEST + 1))


def _before_query(raw_path: bytes) -> bytes:
    return raw_path.partition(b"?")[0].partition(b"#")[0]
