"""How the tests of one run are spread over several workers (`-n`)."""

import fcntl
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

# type: ignores: xdist is without types
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

# Together, since their last test looks at what all of them have shown.
_TOGETHER = "tests/conformance/"
# They take a core for themselves, kill, time what happens; two of them at once are hard on each other.
_DEMANDING = ("tests/faults/", "tests/hostile/")
# They wait for a window, a lease, a time-out to pass and take a tenth of a core meanwhile.
_WAITING = (
    "tests/faults/test_kills_and_slots.py",
    "tests/faults/test_postgres_deadlines.py",
    "tests/faults/test_silence.py",
    "tests/faults/test_slow_readers.py",
    "tests/faults/test_unknown_commits.py",
    "tests/gateway/test_caller_connections.py",
    "tests/gateway/test_cutting.py",
    "tests/gateway/test_recovery.py",
    "tests/gateway/test_upstream_timeouts.py",
    "tests/integration/counters/",
    "tests/integration/services/test_budgeting_faults.py",
    "tests/integration/services/test_recovery.py",
    "tests/unit/db/test_breaker.py",
)
# As many as work at once, whoever waits besides; three at work failed a test or two of five thousand by their crowd.
_PLACES = 2
_LOOK_SECONDS = 0.01
# Many small files, so they come last: no worker then waits for long for another's last file.
_LAST = ("tests/unit/", "tests/architecture/")
# Files of which a test wants to be alone come among those: it then waits for a short test of another worker.
_AMONG_THE_LAST = "tests/unit/s"

_ROOM = pytest.StashKey["Room"]()


class WholeFiles(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a file to one worker: fixtures of a module are made once, its tests keep their order."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # the order is that of `in_order`

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def unit_of(nodeid: str) -> str:
    """What goes to one worker as a whole."""
    return _TOGETHER if nodeid.startswith(_TOGETHER) else nodeid.partition("::")[0]


def places(units: Collection[str], with_alone: Collection[str] = ()) -> dict[str, tuple[int, float, str]]:
    """By what to sort units, which come in their order: each kind spread evenly, then what comes late.

    `with_alone` are those in which a test wants to be alone.
    """
    late = {unit: _AMONG_THE_LAST if unit in with_alone else unit for unit in units if unit.startswith(_LAST)}
    late |= dict.fromkeys(with_alone, _AMONG_THE_LAST)
    found = {unit: (1, 0.0, place) for unit, place in late.items()}
    early = [unit for unit in units if unit not in late]
    for kind in _KINDS:
        alike = [unit for unit in early if _kind_of(unit) == kind]
        found |= {unit: (0, (number + 0.5) / len(alike), unit) for number, unit in enumerate(alike)}
    return found


_KINDS = ("demanding", "waiting", "")


def _kind_of(unit: str) -> str:
    if unit.startswith(_WAITING):
        return "waiting"
    return "demanding" if unit.startswith(_DEMANDING) else ""


class Room:
    """Where tests run: some at work, any number that wait, or one alone.

    Its locks are the kernel's, so a worker that dies leaves none behind. Whoever wants it alone keeps the door until
    the others are out; without the door they would come back in, test after test.
    """

    def __init__(self, folder: Path) -> None:
        self._door, self._floor = folder / "door.lock", folder / "floor.lock"
        self._places = [folder / f"place-{number}.lock" for number in range(_PLACES)]
        self._inside: ExitStack | None = None

    @contextmanager
    def entered(self, *, alone: bool, stays: bool = False, waits: bool = False) -> Iterator[None]:
        """Waits until there is room; held until left, or on to the next test if that wants to be alone too."""
        inside, self._inside = self._inside or self._enter(alone), None
        try:
            if not (alone or waits):
                self._begin_work(inside)
            yield
        finally:
            if alone and stays:
                self._inside = inside
            else:
                inside.close()

    def _begin_work(self, inside: ExitStack) -> None:
        """Takes a place among those who work once one is free; no lock tells which of several that will be."""
        while not any(self._has_taken(path, inside) for path in self._places):
            time.sleep(_LOOK_SECONDS)

    def _has_taken(self, path: Path, inside: ExitStack) -> bool:
        try:
            inside.enter_context(_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def _enter(self, alone: bool) -> ExitStack:
        inside = ExitStack()
        with _locked(self._door, fcntl.LOCK_EX):
            inside.enter_context(_locked(self._floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        return inside


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, how)
        yield


def room_of(config: pytest.Config) -> Room | None:
    """The room that the workers of this run share; None where there are no others."""
    if not hasattr(config, "workerinput"):
        return None
    if _ROOM not in config.stash:
        config.stash[_ROOM] = Room(Path(config.getoption("basetemp")).parent)
    return config.stash[_ROOM]


def waits(item: pytest.Item) -> bool:
    return item.nodeid.startswith(_WAITING)


def wants_to_be_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None
