"""Processes of the version before serve on a database of this one until the last of them is replaced."""

from datetime import UTC, datetime

import pytest

from neuronetz_gateway.domain.identifier import uuid7
from tests.support.ledgers import World


@pytest.mark.promise("P4")
async def test_an_older_process_reserves_settles_and_refuses(world: World) -> None:
    """settle_r1 named a column that two tables had since: whatever older processes held was charged as abandoned."""
    caller = await world.caller()
    now = datetime.now(UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ids = [uuid7() for _ in range(3)]
    asks = [
        (
            each, uuid7(), caller.tenant_id, caller.tenant_version, caller.api_key_id, caller.key_version, day,
            day.replace(day=1), 100, 50, "llama3:latest", "/api/chat", "request", "192.0.2.1", "test/1", now,
        )
        for each in ids
    ]  # fmt: skip
    assert [row[0] for row in await world.sql("select * from reserve_r1($1)", asks)] == [50, 50, 50]
    ends = [
        (ids[0], "completed", 200, 30, 40, 70, False, 5, 10),
        (ids[1], "not_forwarded", 503, 0, 0, 0, False, None, 10),
    ]
    assert len((await world.sql("select settle_r1($1)", ends))[0][0]) == 2
    refusal = (uuid7(), caller.tenant_id, caller.api_key_id, "", "", "", "", "", 429, "rpm", now)
    assert await world.sql("select refuse_r1($1)", [refusal]) == [(1,)]
    # what it leaves behind is settled by this version
    last = [(ids[2], "completed", 200, 1, 2, 3, True, None, 10)]
    assert await world.sql("select settle_r2($1, $2)", uuid7(), last) == [([ids[2]],)]
    assert await world.usage(caller) == {(73, 0)}
    rows = await world.sql("select estimated, writer is null from audit_log order by charged_tokens")
    assert [tuple(row) for row in rows] == [(False, True), (False, True), (True, False), (False, True)]
