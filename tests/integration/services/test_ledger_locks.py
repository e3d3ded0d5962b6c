"""Whatever locks rows of the ledger does so in one order: no mix of it deadlocks, none of it loses anything."""

import asyncio
from datetime import timedelta

import pytest

from tests.support.ledgers import World
from tests.support.lock_mix import Attacker, Mix
from tests.support.other_processes import Others, register

BROKEN_LINKS = (
    "select count(*) from (select *, lag(hash) over (partition by writer, recorded_on order by sequence) as before,"
    " row_number() over (partition by writer, recorded_on order by sequence) as place from audit_log) a"
    " where place <> sequence or hash <> sha256(coalesce(before, '') || convert_to(audit_text_r1("
    "(select b from audit_log b where b.id = a.id and b.recorded_on = a.recorded_on)), 'UTF8'))"
)
DOUBLES = "select count(*) from (select id from audit_log group by id having count(*) > 1) d"
USED = "select sum(used) from budget_usage where period = 'total' and scope_id = any($1)"


@pytest.mark.promise("B2", "B3", "D1")
@pytest.mark.parametrize("collide", [False, True], ids=["apart", "refusals of what is swept"])
@pytest.mark.parametrize("seconds", [3, pytest.param(8, marks=pytest.mark.full)])
async def test_no_mix_of_all_that_locks_ever_deadlocks(
    world: World, others: Others, *, collide: bool, seconds: int
) -> None:
    """The order of locks (DESIGN §5) is kept by care alone, so all that locks runs at once, for the same few callers.

    test_ledger_sweeps.py tells of the deadlock that a sweep had.
    """
    mix = Mix(world, [await world.caller() for _ in range(6)], [await register(world) for _ in range(3)], collide)
    await _let_loose(mix, others, seconds)
    deadlocks = await _figure(world, "select deadlocks from pg_stat_database where datname = current_database()")
    await world.sql("update processes set swept_at = now()")
    sweeper = others.ledger()
    while await sweeper.abandon(age=timedelta(), most=200):
        pass
    assert await world.count("reservations") == 0
    assert {row[0] for row in await world.sql("select distinct reserved from budget_usage")} == {0}
    used = await _figure(world, USED, [each.tenant_id for each in mix.callers])
    audited = await _figure(world, "select sum(charged_tokens) from audit_log")
    doubles, broken = await _figure(world, DOUBLES), await _figure(world, BROKEN_LINKS)
    print(f"B2: {dict(mix.done)} in {seconds} s: {used} tokens used, {audited} audited; errors {dict(mix.errors)}")
    assert (used, doubles, broken) == (audited, 0, 0)
    assert deadlocks == 0
    # the server counts them up to seconds later; whoever was its victim knows at once
    assert not [each for each in mix.errors if "40P01" in each or "deadlock" in each.lower()]


async def _let_loose(mix: Mix, others: Others, seconds: float) -> None:
    """Five gateways, three operators who rebuild and correct, one who drops tables and lets processes die."""
    until = asyncio.get_running_loop().time() + seconds

    def attacker(seed: int) -> Attacker:
        return Attacker(mix, others.database(lock_timeout_seconds=3, statement_timeout_seconds=6), seed)

    of = Attacker
    gateways = (of.reserve, of.reserve, of.settle, of.refuse, of.abandon)
    operators = (of.rebuild, of.change, of.adjust, of.reread, of.abandon)
    await asyncio.gather(
        *(attacker(seed).go_on(*gateways, until=until) for seed in range(5)),
        *(attacker(seed).go_on(*operators, until=until) for seed in range(10, 13)),
        attacker(20).go_on(of.drop, of.partitions, of.die, of.reread, until=until),
    )


async def _figure(world: World, query: str, *arguments: object) -> int:
    return int((await world.sql(query, *arguments))[0][0])
