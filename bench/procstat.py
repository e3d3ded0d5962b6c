"""CPU time, memory, affinity of processes, from /proc."""

import contextlib
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LISTEN = "0A"
# Where each part runs; on a machine with fewer cores the last one takes what is left.
PROXY_CORE, LOAD_CORE, UPSTREAM_CORE, STORES_CORE = range(4)


def tree(pid: int) -> list[int]:
    """The process with all its descendants."""
    children: dict[int, list[int]] = {}
    for other in everyone():
        fields = _fields(other)
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(other)
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User + system time so far, all threads; processes that are gone count nothing."""
    alive = [fields for fields in map(_fields, pids) if fields is not None]
    return sum(int(fields[11]) + int(fields[12]) for fields in alive) / _TICKS


def rss_bytes(pids: list[int]) -> int:
    """Resident memory; pages shared by several processes count in each."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except OSError:
            continue
    return total


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def listeners(pids: list[int], port: int) -> list[int]:
    """Which of these processes hold the socket that listens on the port."""
    inodes = {
        f"socket:[{row[9]}]" for row in _sockets() if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port
    }
    return [pid for pid in pids if inodes & _open_files(pid)]


def everyone() -> list[int]:
    """Every process that can be seen."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def pin(pids: list[int], *cores: int) -> None:
    """Keep all threads of these processes on some cores."""
    last = (os.cpu_count() or 1) - 1
    for pid in pids:
        for thread in _threads(pid):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, {min(core, last) for core in cores})


def _threads(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


def _fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, which may hold blanks: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None


def _sockets() -> list[list[str]]:
    rows = []
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/net/{table}")
        if path.exists():
            rows += [line.split() for line in path.read_text().splitlines()[1:]]
    return rows


def _open_files(pid: int) -> set[str]:
    names = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            names.add(str(entry.readlink()))
    except OSError:  # the process, or the file, is gone
        return names
    return names
