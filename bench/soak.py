"""Whether memory stays where it is: `python -m bench.soak --minutes 15`."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from bench import chart, load, procstat, results, tenancy
from bench.cases import Case, chosen
from bench.gateway_targets import gateway_target, running_gateway
from bench.measuring import MIB
from bench.targets import Target, direct

SAMPLE_SECONDS = 5
STREAMS, SMALL_CONNECTIONS, SMALL_A_SECOND = 50, 20, 200
_MINUTE, _HOUR = 60.0, 3600.0

type Samples = list[tuple[float, float]]  # seconds since the beginning, MiB


def both_loads(target: Target, seconds: float) -> list[load.Load]:
    """Paced streams, one after the other on each connection, beside small requests at a steady rate."""
    paced, small = chosen(["paced-500"])[0], chosen(["small-8"])[0]

    def asked(case: Case, connections: int, interval_seconds: float) -> load.Load:
        return load.Load(
            target.url,
            target.headers,
            case.body(target.body),
            connections,
            seconds,
            interval_seconds=interval_seconds,
            core=procstat.LOAD_CORE,
        )

    return [asked(paced, STREAMS, 0), asked(small, SMALL_CONNECTIONS, SMALL_CONNECTIONS / SMALL_A_SECOND)]


def watched(target: Target, loads: Sequence[load.Load]) -> tuple[Samples, list[dict[str, Any]]]:
    """The memory of the gateway while the loads run, with what came of each of them."""
    samples: Samples = []
    with ThreadPoolExecutor(len(loads)) as pool:
        running: list[Future[dict[str, Any]]] = [pool.submit(load.put, each) for each in loads]
        began = time.monotonic()
        while wait(running, timeout=SAMPLE_SECONDS).not_done:
            samples.append((time.monotonic() - began, procstat.rss_bytes(target.processes()["proxy"]) / MIB))
        return samples, [each.result() for each in running]


def figures(samples: Samples) -> dict[str, float]:
    """The medians of the first and the last minute; the slope of what lies between the first minute and the end."""
    end = samples[-1][0]
    first = [mib for seconds, mib in samples if seconds <= _MINUTE]
    last = [mib for seconds, mib in samples if seconds >= end - _MINUTE]
    later = [sample for sample in samples if sample[0] >= _MINUTE] if end > 2 * _MINUTE else samples
    slope = statistics.linear_regression(*zip(*later, strict=True)).slope if len(later) > 1 else 0.0
    return {
        "first_minute_mib": statistics.median(first),
        "last_minute_mib": statistics.median(last),
        "slope_mib_an_hour": slope * _HOUR,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--chart", type=Path, metavar="FILE", help="a PNG; without it beside the JSON")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        direct() as upstream,
        running_gateway(Path(folder), upstream.base_url) as running,
    ):
        target = gateway_target(running, tenancy.prepare(running, ()))
        samples, told = watched(target, both_loads(target, given.minutes * _MINUTE))
    found = figures(samples)
    for name, figure in found.items():
        print(f"{name}: {figure:,.1f}")
    for name, came in zip(("streams", "small"), told, strict=True):
        print(f"{name}: {came['answers']:,} answers, {came['failed']} failed {came.get('failures') or ''}")
    file = results.save("soak", {"minutes": given.minutes, **found, "loads": told, "samples": samples})
    print(f"written to {file}, {chart.draw_memory(samples, given.chart or file.with_suffix('.png'))}")


if __name__ == "__main__":
    main()
