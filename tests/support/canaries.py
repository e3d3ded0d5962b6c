"""Secrets that are looked for everywhere, in each spelling in which they could lie there."""

import base64
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from neuronetz_gateway.embedded.postgres_install import find_install
from tests.support.stores import Stores


def spellings(secret: str) -> Iterator[str]:
    """As it is, halved, folded, backwards, in hexadecimal, in base64 at each of its three places."""
    half = len(secret) // 2
    yield from {secret, secret.lower(), secret.upper(), secret[::-1], secret[:half], secret[half:]}
    for text in {secret, secret.lower()}:
        yield text.encode().hex()
        for place in range(3):
            whole = base64.b64encode(b"x" * place + text.encode()).decode()
            yield whole[4 if place else 0 : -4].rstrip("=")


def found_in(text: str, secret: str) -> list[str]:
    """The lines that hold it, cut short around it."""
    lines = []
    for spelling in spellings(secret):
        at = text.find(spelling)
        if at >= 0:
            lines.append(f"{spelling}: ...{text[max(0, at - 120) : at + 120]}...")
    return lines


def postgres_dump(stores: Stores) -> str:
    """The whole database, as pg_dump writes it."""
    parts = urlsplit(stores.database_url)
    query = parse_qs(parts.query)
    words = ("--host", query["host"][0], "--username", parts.username or "", parts.path.lstrip("/"))
    program = find_install(None, None).bin_dir / "pg_dump"
    done = subprocess.run([str(program), *words], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout


def sizes_of_stores(folder: Path) -> dict[Path, int]:
    """How far what `written_by_stores` reads has come."""
    return {path: path.stat().st_size for path in _files_of_stores(folder)}


def written_by_stores(folder: Path, since: Mapping[Path, int]) -> str:
    """The logs of both servers with everything that was sent to Valkey, as it keeps it for a restart.

    `since` leaves out what stood in a file before, from other tests; one that has shrunk is another one.
    """
    parts = []
    for path in _files_of_stores(folder):
        whole = path.read_bytes()
        before = since.get(path, 0)
        parts.append(whole[before if before <= len(whole) else 0 :].decode("latin-1"))
    return "\n".join(parts)


def _files_of_stores(folder: Path) -> list[Path]:
    logs = [folder / "postgres" / "postgres.log", folder / "valkey" / "valkey.log"]
    return [*logs, *(folder / "valkey" / "valkey" / "appendonlydir").glob("*")]


def processes() -> str:
    """The arguments of every process, as everybody on this machine may read them."""
    return subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
