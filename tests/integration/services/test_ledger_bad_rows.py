"""A row that Postgres will not have fails alone: neither its batch nor a sweep nor the audit log suffers from it."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.repositories.ledger import Ledger, ReservationRequest, Verdict
from tests.support.ledgers import World, completed, make_ask, refusal_of, running_ledger, until
from tests.support.other_processes import Others, no_refusal_waits, register, request_of

LONG = 1000  # characters; a text past that may be taken all the same
IMPOSSIBLE: list[dict[str, Any]] = [
    *({name: None} for name in ("model", "id", "admitted_at", "day", "tenant_id", "process_id")),
    *({f"{name}_tokens": None} for name in ("prompt_bound", "output_wanted", "estimated")),
    {"prompt_bound_tokens": -5},
]


@pytest.mark.promise("D4")
@pytest.mark.parametrize("text", ["nul\x00", "\ud800", "x" * 2_000_000], ids=["nul", "surrogate", "long"])
@pytest.mark.parametrize("field", ["model", "user_agent"])
async def test_a_poisonous_text_fails_nobody_else(world: World, text: str, field: str) -> None:
    caller = await world.caller()
    good_refusal = make_ask()
    async with running_ledger(world.url) as ledger:
        asked = await asyncio.gather(
            ledger.reserve(caller, make_ask()),
            ledger.reserve(caller, make_ask(**{field: text})),
            ledger.reserve(caller, make_ask()),
            return_exceptions=True,
        )
        for refused in (make_ask(**{field: text}), good_refusal, make_ask(**{field: text})):
            ledger.refuse(refusal_of(caller, refused))
        await until(lambda: no_refusal_waits(ledger))
    assert not isinstance(asked[0], BaseException)
    assert not isinstance(asked[2], BaseException)
    assert isinstance(asked[1], GatewayError) or len(text) > LONG
    assert await world.sql("select 1 from audit_log where id = $1", good_refusal.id)


async def test_nulls_where_none_may_be_fail_alone(world: World, others: Others) -> None:
    """What has no prompt bound or no output cap has no size: a grant of it would hold nothing."""
    caller, process_id, ledger = await world.caller(), await register(world), others.ledger()
    granted: list[object] = []
    for changes in IMPOSSIBLE:
        verdict = await _verdict_on(ledger, request_of(caller, process_id, **changes))
        refused = isinstance(verdict, BatchDataError) or (
            isinstance(verdict, Verdict) and verdict.granted_tokens is None
        )
        if not refused:
            granted.append((changes, verdict, await world.count("reservations")))
    assert granted == []


async def _verdict_on(ledger: Ledger, request: ReservationRequest) -> Verdict | Exception:
    try:
        return (await ledger.reserve([request]))[0]
    except (BatchDataError, NotCommittedError, UnknownOutcomeError) as error:
        return error


@pytest.mark.promise("B2", "D1")
async def test_what_is_charged_has_a_row_that_says_so(world: World, others: Others) -> None:
    """A charge whose id had a refusal already lost its own row, without an error: used, yet in no row."""
    caller = await world.caller()
    asked = request_of(caller, await register(world))
    ledger = others.ledger()
    await ledger.reserve([asked])
    await ledger.refuse([refusal_of(caller, make_ask(id=asked.id))])
    with suppress(BatchDataError):
        await ledger.settle([completed(asked.id)])
    [[used]] = await world.sql(
        "select used from budget_usage where scope_id = $1 and period = 'total'", caller.tenant_id
    )
    [[audited]] = await world.sql("select sum(charged_tokens) from audit_log")
    assert used == audited
