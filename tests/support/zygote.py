"""A process that has imported the gateway already, to fork into `neuronetz-gateway` as often as it is told."""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from neuronetz_gateway.cli.main import main

# What is imported late: the command (when it is asked for), the app (by name, for the floors), what uvicorn and Alembic
# choose at run time.
_LATE = (
    "neuronetz_gateway.cli.server",
    "neuronetz_gateway.asgi",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "alembic.ddl.postgresql",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "logging.config",
)


def zygote() -> None:
    """Forks for a line `{"words", "out", "err", "environment"}` on stdin; tells `{"pid"}`, later `{"pid", "status"}`.

    The fork runs the console script's own entry with the given words, as a fresh interpreter would once its imports
    are done: two seconds of processor time, which a test with a hundred kills cannot pay. It is one process without
    threads, so signals, SIGKILL included, do to it what they do to one that was started from a shell. It serves with
    one worker: `--workers` would start fresh interpreters. Children end with the zygote, which ends when stdin does.
    """
    for name in _LATE:
        importlib.import_module(name)
    told, telling = socket.socketpair()
    for end in (told, telling):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only the wake-up is wanted
    signal.set_wakeup_fd(telling.fileno())
    living: set[int] = set()
    buffer = b""
    while True:
        readable, _, _ = select.select([0, told.fileno()], [], [])
        if told.fileno() in readable:
            with contextlib.suppress(BlockingIOError):
                told.recv(4096)
            _bury(living)
        if 0 in readable:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                living.add(_forked(json.loads(line), (told, telling)))
    for pid in living:
        os.kill(pid, signal.SIGKILL)


def _bury(living: set[int]) -> None:
    for pid in tuple(living):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            living.discard(pid)
            _say({"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _forked(request: dict[str, Any], ours: tuple[socket.socket, socket.socket]) -> int:
    pid = os.fork()
    if not pid:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in ours:
            end.close()
        _become(request)
    _say({"pid": pid})
    return pid


def _become(request: dict[str, Any]) -> NoReturn:
    """In the child: the words, the environment, the streams of a command of its own."""
    silence = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for name in ("out", "err"))
    for source, target in ((silence, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for opened in (silence, out, err):
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["neuronetz-gateway", *request["words"]]
    status = 1
    try:
        main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # what the zygote had registered for its own end is not the child's


def _say(message: dict[str, int]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    zygote()
