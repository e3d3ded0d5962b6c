"""Ends sessions of gateways on the server, as a failover or an operator does."""

import asyncio
import random

from tests.support.ledgers import World

_END = (
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
    " and pid <> pg_backend_pid() and application_name like '%gateway ' || $1 || '%'"
)


async def end_sessions(world: World, lane: str) -> None:
    """Those of one lane, of all processes; what they were doing has an unknown outcome."""
    await world.sql(_END, lane)


async def end_sessions_at_random(world: World, dice: random.Random, *, until: float) -> None:
    """Again and again, until then by the clock of the loop."""
    while asyncio.get_running_loop().time() < until:
        await asyncio.sleep(dice.random() / 5)
        await end_sessions(world, dice.choice(["reserve", "settle", "refuse"]))
