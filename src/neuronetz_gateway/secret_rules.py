"""What a secret must be like before a gateway in production relies on it."""

import os
import stat
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

SECRET_CHARACTERS = 32  # what 16 random bytes are in hexadecimal digits
_PASSWORD_CHARACTERS = 15  # NIST SP 800-63B-4 §3.1.1.2: a password that nothing else stands beside
_DISTINCT_CHARACTERS = 8
_PLACEHOLDER_WORDS = ("change", "secret", "pepper", "example", "password", "placeholder")
_DEFAULT_PASSWORDS = frozenset(
    {"admin", "changeme", "default", "example", "gateway", "password", "postgres", "redis", "secret", "test", "valkey"}
)
_OTHER_WAYS_IN = ("passfile", "sslcert", "krbsrvname", "gsslib")  # of libpq, in the query of DATABASE_URL
_OTHER_VARIABLES = ("PGPASSFILE", "PGSSLCERT")


def weakness_of(value: str) -> str | None:
    """What is wrong with a secret that a program made, to follow its name; None for nothing."""
    if len(value) < SECRET_CHARACTERS:
        return f"has under {SECRET_CHARACTERS} characters"
    return "looks like a placeholder" if _looks_like_a_placeholder(value) else None


def password_weakness_of(url: str, environment: Mapping[str, str]) -> str | None:
    """What is wrong with the way into a store, to follow the name of the setting; None for nothing.

    On a network whoever reaches a store without a password has what it holds; on this machine a socket or the loopback
    interface may do without, since who else lives here is the operator's to know. `environment` may have what asyncpg,
    as libpq does, reads there where the address has none.
    """
    parts = split_url(url)
    if parts is None:
        return "is no address"
    environment = environment if _is_postgres(parts) else {}
    password = _password(parts) or environment.get("PGPASSWORD") or None
    if password is not None and (password.lower() in _DEFAULT_PASSWORDS or password == unquote(parts.username or "")):
        return "has a password that everybody knows"
    if not _over_a_network(parts, environment):
        return None
    return _weakness_over_a_network(parts, password, environment)


def _weakness_over_a_network(parts: SplitResult, password: str | None, environment: Mapping[str, str]) -> str | None:
    if password is not None:
        if len(password) < _PASSWORD_CHARACTERS:
            return f"leads over a network by a password of under {_PASSWORD_CHARACTERS} characters"
        seems = _looks_like_a_placeholder(password)
        return "leads over a network by a password that looks like a placeholder" if seems else None
    other_way = any(name in parse_qs(parts.query) for name in _OTHER_WAYS_IN) or any(
        environment.get(name) for name in _OTHER_VARIABLES
    )
    if _is_postgres(parts) and other_way:
        return None
    return "leads over a network without a password: whoever reaches that store has what it holds"


def holds_a_password(url: str) -> bool:
    """Whether somebody who reads this address may use it; what cannot be read counts as one who may."""
    parts = split_url(url)
    return parts is None or _password(parts) is not None


def open_to_others(path: Path) -> bool:
    """Whether everybody on this machine may read or write a file; raises OSError where there is none.

    The group may: containers and orchestrators hand secrets to a process that is not root by its group, which the
    operator chose for this, where "others" is whoever gets in at all.
    """
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))


def split_url(url: str) -> SplitResult | None:
    """The parts of an address, None for what is none; urlsplit's own error repeats a piece of it."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def files_open_to_others(
    variables: Mapping[str, str | None], secrets: Mapping[str, Callable[[str], bool]], holder: Path | None
) -> list[tuple[str, Path]]:
    """The secrets that lie open, by name, with the file in which each lies.

    variables are those of one place, holder is the file where that place is one; `secrets` says by name whether a
    value that stands there is to be kept secret.
    """
    given = {name.upper(): value for name, value in variables.items()}
    found: list[tuple[str, Path]] = []
    for name, is_secret in secrets.items():
        path, value = given.get(f"{name}_FILE"), given.get(name)
        if path and open_to_others(Path(path)):
            found.append((name, Path(path)))
        if holder is not None and value and is_secret(value) and open_to_others(holder):
            found.append((name, holder))
    return found


def _looks_like_a_placeholder(value: str) -> bool:
    return len(set(value)) < _DISTINCT_CHARACTERS or any(word in value.lower() for word in _PLACEHOLDER_WORDS)


def _is_postgres(parts: SplitResult) -> bool:
    return parts.scheme.startswith("postgresql")


def _password(parts: SplitResult) -> str | None:
    """The password that an address carries, be it in its query; an empty one is none."""
    if parts.password:
        return unquote(parts.password)
    given = parse_qs(parts.query).get("password", [""])
    return given[-1 if _is_postgres(parts) else 0] or None  # of several asyncpg takes the last, redis-py the first


def _over_a_network(parts: SplitResult, environment: Mapping[str, str]) -> bool:
    """Whether others can stand between us and the host, or reach it as we do.

    The drivers take the host before the path, else those of the query, else asyncpg takes PGHOST, else what is here.
    """
    given = [unquote(parts.hostname)] if parts.hostname else parse_qs(parts.query).get("host", [])
    given = given or [environment.get("PGHOST", "")]
    hosts = [host for each in given if each for host in each.split(",")]
    return parts.scheme != "unix" and not all(_is_here(host) for host in hosts)


def _is_here(host: str) -> bool:
    if host == "localhost" or host.startswith(("/", "@")):  # a folder of sockets, an abstract socket
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
