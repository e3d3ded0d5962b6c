"""The room that workers share, seen as several would see it."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event

import pytest

from tests.support.spreading import Room, places, unit_of

SECONDS = 30
QUIET_SECONDS = 0.1

type Enter = Callable[..., tuple[Event, Event]]


@pytest.fixture
def enter(tmp_path: Path) -> Iterator[Enter]:
    """Sends a worker to the door, which ends when its second event is set; the first says that it is in."""
    leaving: list[Event] = []
    with ThreadPoolExecutor(8) as workers:

        def entering(*, alone: bool, waits: bool = False) -> tuple[Event, Event]:
            inside, leave = Event(), Event()
            leaving.append(leave)

            def work() -> None:
                with Room(tmp_path).entered(alone=alone, waits=waits):
                    inside.set()
                    leave.wait(SECONDS)

            workers.submit(work)
            return inside, leave

        yield entering
        for leave in leaving:
            leave.set()


def test_others_come_in_together(enter: Enter) -> None:
    for inside, _ in [enter(alone=False) for _ in range(2)]:
        assert inside.wait(SECONDS)


def test_whoever_is_alone_comes_in_once_the_others_are_out_and_keeps_them_out(enter: Enter) -> None:
    first, leave_first = enter(alone=False)
    assert first.wait(SECONDS)
    single, leave_single = enter(alone=True)
    assert not single.wait(QUIET_SECONDS)
    late, _ = enter(alone=False)  # nobody overtakes: else whoever wants to be alone might wait for ever
    assert not late.wait(QUIET_SECONDS)
    leave_first.set()
    assert single.wait(SECONDS)
    assert not late.wait(QUIET_SECONDS)
    leave_single.set()
    assert late.wait(SECONDS)


def test_whoever_is_alone_stays_so_for_the_next_test(enter: Enter, tmp_path: Path) -> None:
    """Each of a file's thirty such tests once waited for a test of the other worker: half a minute a run."""
    room = Room(tmp_path)
    with room.entered(alone=True, stays=True):
        late, _ = enter(alone=False)
    assert not late.wait(QUIET_SECONDS)
    with room.entered(alone=True, stays=False):
        assert not late.wait(QUIET_SECONDS)
    assert late.wait(SECONDS)


def test_two_are_at_work_beside_whoever_waits(enter: Enter) -> None:
    first, leave_first = enter(alone=False)
    second, _ = enter(alone=False)
    assert first.wait(SECONDS)
    assert second.wait(SECONDS)
    third, _ = enter(alone=False)
    waiting, _ = enter(alone=False, waits=True)
    assert waiting.wait(SECONDS)
    assert not third.wait(QUIET_SECONDS)
    leave_first.set()
    assert third.wait(SECONDS)


def test_a_worker_that_dies_leaves_the_room(enter: Enter, tmp_path: Path) -> None:
    spawning = multiprocessing.get_context("spawn")
    told, telling = spawning.Pipe(duplex=False)
    worker = spawning.Process(target=_never_leave, args=(tmp_path, telling))
    worker.start()
    assert told.poll(SECONDS)
    inside, _ = enter(alone=False)
    assert not inside.wait(QUIET_SECONDS)
    worker.kill()
    worker.join()
    assert inside.wait(SECONDS)


def _never_leave(folder: Path, telling: Connection) -> None:
    with Room(folder).entered(alone=True):
        telling.send("in")
        Event().wait()


def test_a_file_goes_to_one_worker_and_all_of_conformance_too() -> None:
    assert unit_of("tests/gateway/test_sdks.py::test_one[::1]") == "tests/gateway/test_sdks.py"
    assert len({unit_of(f"tests/conformance/{name}.py::test_one") for name in ("test_ollama", "test_page")}) == 1


def in_order(units: list[str], *with_alone: str) -> list[str]:
    place = places(units, with_alone)
    return sorted(units, key=lambda unit: place[unit])


def test_what_is_quick_comes_last() -> None:
    files = ["tests/architecture/test_floors.py", "tests/gateway/test_sdks.py", "tests/unit/cli/test_main.py"]
    assert in_order(files)[0] == "tests/gateway/test_sdks.py"


def test_files_of_tests_that_want_to_be_alone_come_among_the_many_small_ones() -> None:
    files = ["tests/unit/surfaces/test_a.py", "tests/gateway/test_b.py", "tests/unit/domain/test_c.py", "tests/d.py"]
    order = in_order(files, "tests/gateway/test_b.py")
    assert order == ["tests/d.py", "tests/unit/domain/test_c.py", "tests/gateway/test_b.py", files[0]]


def test_demanding_files_stand_evenly_among_the_others() -> None:
    """All of tests/faults once ran at the start, on all workers at once, and timed each other."""
    files = ["tests/faults/a.py", "tests/faults/b.py", *(f"tests/gateway/{name}.py" for name in "cdefgh")]
    assert [file[6] for file in in_order(files)] == list("gfgggfgg")
