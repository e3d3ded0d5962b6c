"""Rounds of cases at targets, in turn."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

from bench import load, procstat
from bench.cases import Case, Keys
from bench.report import Row
from bench.targets import Target

MIB = 2**20
_LOOK_SECONDS = 0.2
_WARM_CONNECTIONS, _WARM_ANSWERS, _WARM_STREAMS, _WARM_SECONDS = 8, 500, 16, 120


class PeakMemory:
    """The most resident memory that some processes have had, in bytes, while the block ran."""

    def __init__(self, pids: list[int]) -> None:
        self._pids, self._over = pids, threading.Event()
        self.most = procstat.rss_bytes(pids)
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self.most = max(self.most, procstat.rss_bytes(self._pids))

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._over.set()
        self._thread.join()


class Rounds:
    """Every target in turn, round after round, so that a noisy minute hurts all alike."""

    def __init__(self, targets: Sequence[Target], seconds: float) -> None:
        self._targets, self._seconds = targets, seconds
        # before anything was asked of them
        self.idle_mib = {target.name: _rss_mib(target.processes().get("proxy", [])) for target in targets}

    def of(self, case: Case, rounds: int) -> list[Row]:
        targets = [target for target in self._targets if target.takes(case)]
        rows = []
        for number in range(1, rounds + 1):
            for target in targets:
                rows.append(self._round(case, target, number))
                print(f"{case.name}, round {number}: {target.name} {rows[-1]['per_second']:,.0f}/s", flush=True)
        return rows

    def _round(self, case: Case, target: Target, number: int) -> Row:
        """us are processor time for one unit."""
        keys = target.keys.for_round(case, number, self._seconds) if target.keys else ()
        asked = load.Load(
            target.url,
            target.headers,
            case.body(target.body),
            case.connections,
            self._seconds,
            case.status,
            keys,
            stamped=case.paced,
            once=case.paced,
            core=procstat.LOAD_CORE,
        )
        _warm(asked, case, first=number == 1)
        before = {name: procstat.cpu_seconds(pids) for name, pids in target.processes().items()}
        with PeakMemory(target.processes().get("proxy", [])) as memory:
            told = load.put(asked)
        units = told["records"] if case.paced else told["answers"] * case.records
        row: Row = {"case": case.name, "target": target.name, "round": number, "unit": case.unit, **told}
        row["connections"] = case.connections
        row["per_second"] = units / told["seconds"]
        for name, pids in target.processes().items():  # asked again: Postgres may have started a backend meanwhile
            row[f"{name}_us"] = (procstat.cpu_seconds(pids) - before.get(name, 0.0)) * 1e6 / max(1, units)
            row[f"{name}_rss_mib"] = _rss_mib(pids)
        if memory.most:
            row["peak_mib"] = memory.most / MIB
        if memory.most and case.paced:
            row["stream_kib"] = (memory.most / MIB - self.idle_mib[target.name]) * 1024 / case.connections
        return row


def _warm(asked: load.Load, case: Case, *, first: bool) -> None:
    """What must have happened before: each of many keys proven by Argon2id, a key's one request of the minute."""
    if case.paced or case.keys is Keys.UNKNOWN:
        return
    answers = len(asked.keys) or (_WARM_STREAMS if case.stream else _WARM_ANSWERS)
    if not first and not asked.keys:
        return
    connections = min(_WARM_CONNECTIONS, answers)
    load.put(replace(asked, connections=connections, most=answers, status=0, seconds=_WARM_SECONDS))


def _rss_mib(pids: list[int]) -> float:
    return procstat.rss_bytes(pids) / MIB
