"""A guard process that lets a server live no longer than the process that asked for it.

Started as a program by ``child.py`` where the kernel has no parent-death signal (macOS) or none can be asked for.
It reads a pipe: each byte is the number of a signal to pass on; the end of the pipe means that the parent is gone
(also after its SIGKILL), so the server gets SIGKILL. The guard's exit status is the server's, 128 + n for signal n.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run ``arguments[3:]`` as the child, steered by the pipe ``arguments[0]``, as uid and gid ``arguments[1:3]``."""
    pipe, uid, gid = int(arguments[0]), arguments[1], arguments[2]
    # The server must not hold the reading end, nor may a second server inherit it.
    os.set_inheritable(pipe, False)
    server = subprocess.Popen(  # noqa: S603 - the command is our parent's own
        list(arguments[3:]),
        close_fds=False,  # what the parent handed on (a listening socket) goes on to the server
        user=int(uid) if uid else None,
        group=int(gid) if gid else None,
        extra_groups=[] if uid else None,
    )
    # Only now: an ignored signal is inherited across exec, so the server would ignore it too.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    threading.Thread(target=_obey, args=(pipe, server), daemon=True).start()
    status = server.wait()
    return status if status >= 0 else 128 - status


def _obey(pipe: int, server: subprocess.Popen[bytes]) -> None:
    while order := os.read(pipe, 1):
        server.send_signal(order[0])
    server.kill()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
