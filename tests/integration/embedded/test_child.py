"""A child process lives no longer than its parent, however either of them ends."""

import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from neuronetz_gateway.embedded.child import Child, EmbeddedError, start_child
from tests.integration.embedded.conftest import Parent

BOTH_WAYS = pytest.mark.parametrize("guarded", [False, True], ids=["death signal", "guard"])

PARENT = """
import pathlib, sys, time
from neuronetz_gateway.embedded.child import start_child
said = pathlib.Path(sys.argv[1])
child = start_child(
    [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"],
    name="a sleeper", log=said, guarded=sys.argv[2] == "True",
)
child.wait_until(lambda: said.read_text().endswith("\\n"), seconds=20)
print(said.read_text(), end="", flush=True)
time.sleep(600)
"""
TELLS_ITS_SIGNAL = """
import signal, sys
def told(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit(3)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, told)
print("ready", flush=True)
signal.pause()
"""
DEAF = """
import signal
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""


def started(program: str, log: Path, *, guarded: bool | None = None) -> Child:
    child = start_child([sys.executable, "-c", program], name="the program", log=log, guarded=guarded)
    try:
        child.wait_until(lambda: "ready" in log.read_text(), seconds=20)
    except BaseException:
        child.kill()
        raise
    return child


@BOTH_WAYS
def test_a_child_dies_with_a_parent_that_gets_sigkill(
    guarded: bool,
    tmp_path: Path,
    parent: Callable[..., Parent],
    gone: Callable[[int], bool],
    killed: list[int],
) -> None:
    running = parent(PARENT, tmp_path / "log", guarded)
    killed.append(int(running.line()))
    running.kill()
    assert gone(killed[0])


@BOTH_WAYS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_gives_the_child_the_signal_it_asks_for(guarded: bool, number: signal.Signals, tmp_path: Path) -> None:
    child = started(TELLS_ITS_SIGNAL, tmp_path / "log", guarded=guarded)
    child.stop(number)
    assert child.ended
    assert child.log_tail().splitlines() == ["ready", number.name]
    child.stop(number)


@BOTH_WAYS
def test_a_child_that_will_not_hear_is_killed_at_the_deadline(guarded: bool, tmp_path: Path) -> None:
    child = started(DEAF, tmp_path / "log", guarded=guarded)
    child.stop(seconds=0.3)
    assert child.ended


@BOTH_WAYS
def test_a_listening_socket_reaches_the_child(guarded: bool, tmp_path: Path) -> None:
    serves = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.accept()[0].sendall(b'here')"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [sys.executable, "-c", serves, str(listener.fileno())]
        child = start_child(
            words, name="the server", log=tmp_path / "log", guarded=guarded, pass_fds=[listener.fileno()]
        )
        address = listener.getsockname()
    with socket.create_connection(address, timeout=20) as connection:
        assert connection.recv(4) == b"here"
    child.stop()


def test_a_child_that_ends_while_starting_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("what an earlier run said\n")
    child = start_child([sys.executable, "-c", "raise SystemExit('no such luck')"], name="the program", log=log)
    with pytest.raises(EmbeddedError, match="no such luck") as refused:
        child.wait_until(lambda: False, seconds=20)
    assert "earlier run" not in str(refused.value)


def test_the_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    started("print('ready', flush=True)", tmp_path / "log").stop()
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_the_child_sees_nothing_secret_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_PEPPER", "never to be seen")
    child = started("import os; print(sorted(os.environ), 'ready', flush=True)", tmp_path / "log")
    child.stop()
    assert "PATH" in child.log_tail()
    assert "KEY_PEPPER" not in child.log_tail()


def test_a_thread_may_not_start_a_child_since_the_child_would_die_with_the_thread(tmp_path: Path) -> None:
    refusals: list[EmbeddedError] = []

    def start() -> None:
        try:
            start_child(["true"], name="nothing", log=tmp_path / "log", guarded=False)
        except EmbeddedError as error:
            refusals.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(refusals)
