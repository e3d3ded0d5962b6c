"""Secrets that are looked for everywhere, in each spelling in which they could lie there."""

import base64
import os
import subprocess
from collections.abc import Iterator
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


def written_by_stores(folder: Path) -> str:
    """The logs of both servers with everything that was ever sent to Valkey, as it keeps it for a restart."""
    logs = [folder / "postgres" / "postgres.log", folder / "valkey" / "valkey.log"]
    appended = (folder / "valkey" / "valkey" / "appendonlydir").glob("*")
    return "\n".join(path.read_bytes().decode("latin-1") for path in (*logs, *appended))


def processes() -> str:
    """The arguments of every process, as everybody on this machine may read them."""
    return subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
