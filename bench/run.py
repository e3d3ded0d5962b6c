"""One command that measures: `python -m bench.run [--rounds 5] [--seconds 3] [--case small] [--targets direct]`."""

import argparse
import contextlib
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import chart, goals, report, results, targets_file, tenancy
from bench.cases import CASES, Case, chosen
from bench.gateway_targets import gateway_target, running_gateway, workers_target
from bench.measuring import Rounds
from bench.targets import PLAIN_PROXIES, Target, direct, through_proxy

ALL_TARGETS = ("direct", *PLAIN_PROXIES, "gateway")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round, paced streams apart")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="a case or a group of them")
    parser.add_argument("--list", action="store_true", help="show the cases")
    parser.add_argument("--targets", default=",".join(ALL_TARGETS))
    parser.add_argument("--targets-file", type=Path, metavar="FILE", help="other gateways: targets.example.toml")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="the gateway on N workers too, in all cases"
    )
    parser.add_argument("--upstream-port", type=int, default=0, metavar="PORT", help="for gateways of --targets-file")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="a PNG; without it beside the JSON")
    return parser.parse_args()


@contextlib.contextmanager
def targets(given: argparse.Namespace, cases: list[Case]) -> Iterator[list[Target]]:
    """All targets, running; what is left out is said aloud."""
    wanted = given.targets.split(",")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = stack.enter_context(direct(given.upstream_port))
        found: list[Target | None] = [upstream] if "direct" in wanted else []
        found += [
            stack.enter_context(through_proxy(name, folder, upstream)) for name in PLAIN_PROXIES if name in wanted
        ]
        if "gateway" in wanted:
            running = stack.enter_context(running_gateway(folder, upstream.base_url))
            ring = tenancy.prepare(running, {case.keys for case in cases})
            found.append(gateway_target(running, ring))
            if workers := given.workers or 2 * any(case.of_workers for case in cases):
                beside = workers_target(running, ring, workers, every_case=given.workers > 0)
                found.append(stack.enter_context(beside))
        if given.targets_file is not None:
            found += targets_file.read(given.targets_file)
        yield [target for target in found if target is not None]


def main() -> None:
    given = arguments()
    if given.list:
        print("\n".join(f"{case.group:9} {case.name}" for case in CASES))
        return
    cases = chosen(given.case)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited by all that is started here
    with targets(given, cases) as found:
        rounds = Rounds(found, given.seconds)
        rows = [row for case in cases for row in rounds.of(case, given.rounds)]
    summary = report.medians(rows)
    print(f"\n{report.tables(summary)}\n")
    if told := goals.table(summary, rounds.idle_mib):
        print(f"Goals:\n{told}\n")
    print("idle RSS in MiB: " + ", ".join(f"{name} {mib:.0f}" for name, mib in rounds.idle_mib.items() if mib))
    asked = {"rounds": given.rounds, "seconds": given.seconds}
    file = results.save("run", {"asked": asked, "idle_mib": rounds.idle_mib, "medians": summary, "rounds": rows})
    print(f"written to {file}, {chart.draw(summary, given.chart or file.with_suffix('.png'))}")


if __name__ == "__main__":
    main()
