"""A bare uvicorn that answers by itself, as the yardstick for the interpreter: nothing in Python can cost less."""

import subprocess
import sys
from pathlib import Path

from starlette.types import Receive, Scope, Send

from bench.canned import SMALL

_BODY = SMALL.partition(b"\r\n\r\n")[2]
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The small answer to whatever is asked."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def program() -> str | None:
    return sys.executable


def start(program: str, folder: Path, port: int, upstream_port: int) -> subprocess.Popen[bytes]:
    del folder, upstream_port
    quiet = ("--no-access-log", "--log-level", "error", "--loop", "uvloop", "--http", "httptools")
    return subprocess.Popen([program, "-m", "uvicorn", "bench.bare:app", "--port", str(port), *quiet])
