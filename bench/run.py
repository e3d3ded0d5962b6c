"""One command that measures: `python -m bench.run [--rounds 5] [--seconds 3] [--case small] [--targets direct]`."""

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
from pathlib import Path

from bench import load, procstat, report
from bench.cases import CASES, Case
from bench.targets import OTHER_CORE, Target, direct, given, through_gateway, through_nginx

RESULTS = Path(__file__).parent / "results"


def measure(case: Case, target: Target, seconds: float) -> report.Row:
    """One round of one case at one target; us are processor time for one unit."""
    before = {name: procstat.cpu_seconds(pids) for name, pids in target.processes().items()}
    body, headers = case.body, dict(target.headers)
    url = target.base_url + "/api/chat"
    told = load.start(load.Load(url, headers, body, case.connections, seconds, paced=case.paced, core=OTHER_CORE))
    row: report.Row = {"case": case.name, "target": target.name} | told
    units = told["records"] if case.paced else told["answers"] * case.records_per_answer
    row["per_second"] = units / told["seconds"]
    for name, pids in target.processes().items():  # asked again: Postgres may have started a backend meanwhile
        row[f"{name}_us"] = (procstat.cpu_seconds(pids) - before.get(name, 0.0)) * 1e6 / max(1, units)
        row[f"{name}_rss_mib"] = procstat.rss_bytes(pids) / 2**20
    return row


def run(targets: list[Target], cases: list[Case], rounds: int, seconds: float) -> list[report.Row]:
    """Every target in turn, round after round, so that a noisy minute hurts all alike."""
    rows = []
    for case in cases:
        for number in range(1, rounds + 1):
            for target in targets:
                rows.append(measure(case, target, seconds) | {"round": number})
                print(f"{case.name}, round {number}: {target.name} {rows[-1]['per_second']:,.0f}/s", flush=True)
    return rows


def save(rows: list[report.Row], summary: list[report.Row]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    file.write_text(json.dumps({"machine": machine, "medians": summary, "rounds": rows}, indent=1))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round, paced streams apart")
    parser.add_argument("--case", action="append", choices=sorted({case.group for case in CASES}))
    parser.add_argument("--targets", default="direct,nginx,gateway")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=URL[,key=KEY][,pid=PID]")
    arguments = parser.parse_args()
    wanted = arguments.targets.split(",")
    cases = [case for case in CASES if arguments.case is None or case.group in arguments.case]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = stack.enter_context(direct())
        targets: list[Target | None] = [upstream] if "direct" in wanted else []
        if "nginx" in wanted:
            targets.append(stack.enter_context(through_nginx(folder, upstream)))
        if "gateway" in wanted:
            targets.append(stack.enter_context(through_gateway(folder, upstream)))
        targets += [given(text) for text in arguments.other]
        rows = run([target for target in targets if target is not None], cases, arguments.rounds, arguments.seconds)
    summary = report.medians(rows)
    print("\n" + report.table(summary))
    print(f"\nwritten to {save(rows, summary)}")


if __name__ == "__main__":
    main()
