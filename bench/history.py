"""How reading fares with a long audit log: `python -m bench.history --rows 10000000`."""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from bench import results
from bench.children import stop
from bench.gateway import start
from bench.history_filling import Owner, fill
from bench.history_queries import TIMES, Timing, timings
from bench.targets import free_port
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.settings import Settings
from neuronetz_gateway.wiring import Services, build_services

NOWHERE = "http://127.0.0.1:9"  # nobody asks a model here
_AT_ONCE = 4


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Services]:
    """All that a gateway has, without serving."""
    services = build_services(settings)
    try:
        yield services
    finally:
        await services.aclose()


async def owners(services: Services, tenants: int) -> list[Owner]:
    """So many tenants with a key each, those that an earlier run has made among them; the first is the hot one."""
    there = {tenant.name for tenant in await services.tenants.list()}
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> Owner:
        name = f"history-{number}"
        async with room:
            if name not in there:
                await services.tenants.create(name, allow_all_models=True)
                await services.api_keys.issue(name, "history")
            key = (await services.api_keys.list(name))[0]
        return Owner(name, key.tenant_id, key.id, key.prefix)

    return await asyncio.gather(*(one(number) for number in range(tenants)))


async def measured(services: Services, given: argparse.Namespace) -> tuple[int, list[Timing]]:
    """How many rows there are, what each query took."""
    *busy, silent = await owners(services, given.tenants + 1)
    rows = await fill(services.settings, busy, rows=given.rows, days=given.days, hot_share=given.hot_share)
    return rows, await timings(services, busy[0], busy[-1], silent)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="to add; 0 measures what --data-dir has")
    parser.add_argument("--days", type=int, default=90, help="over which they are spread, up to now")
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--hot-share", type=float, default=0.1, help="of the rows, of one tenant")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="of a quickstart, kept; without it a temporary one"
    )
    return parser.parse_args()


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        data_dir = given.data_dir or Path(folder) / "gateway"
        running = start(data_dir, free_port(), NOWHERE, Path(folder) / "gateway.log")
        try:
            rows, found = run(opened, lambda services: measured(services, given), running.env_file)
        finally:
            stop(running.process)
    print(f"\n{rows:,} audit rows, medians in ms of {TIMES} times (fewer where they take long):")
    for each in found:
        took = (
            "ended by its time-out"
            if each.median_ms is None
            else f"{each.median_ms:10,.1f}  most {each.slowest_ms:,.1f}"
        )
        print(f"  {each.name:48} {took}")
    asked = {name: getattr(given, name) for name in ("days", "tenants", "hot_share")}
    file = results.save("history", {"rows": rows, **asked, "queries": [asdict(each) for each in found]})
    print(f"written to {file}")


if __name__ == "__main__":
    main()
