"""The rules of reserving and settling, asked of Postgres directly."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from neuronetz_gateway.db.group_commit import BatchDataError
from neuronetz_gateway.domain.audit import Outcome, RefusalEvent
from neuronetz_gateway.domain.budget import Period, windows_at
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.repositories.ledger import Ledger, ReservationRequest, Verdict
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from tests.support.ledgers import World, completed, make_ask

PROCESS = uuid7()


def request(principal: Principal, **changes: Any) -> ReservationRequest:
    """100 of prompt and 50 of output, at this moment, unless it says so."""
    ask = make_ask()
    windows = windows_at(ask.admitted_at, principal.time_zone)
    whole = ReservationRequest(
        ask.id, PROCESS, principal.tenant_id, principal.tenant_version, principal.api_key_id, principal.key_version,
        windows.day, windows.month, 100, 50, 83, ask.model, ask.endpoint, ask.request_id, ask.address, ask.user_agent,
        ask.admitted_at,
    )  # fmt: skip
    return whole._replace(**changes)


@pytest.fixture
def ledger(world: World) -> Ledger:
    return Ledger(world.database)


async def _granted(ledger: Ledger, *requests: ReservationRequest) -> list[int | None]:
    return [verdict.granted_tokens for verdict in await ledger.reserve(requests)]


async def test_without_budgets_everything_wanted_is_granted_and_still_counted(world: World, ledger: Ledger) -> None:
    caller = await world.caller()
    assert await _granted(ledger, request(caller)) == [50]
    assert await world.usage(caller) == {(0, 150)}


@pytest.mark.parametrize(
    ("tenant", "key", "granted"),
    [
        ({Period.DAILY: 1000}, {}, 50),
        ({Period.DAILY: 130}, {}, 30),
        ({Period.DAILY: 130, Period.MONTHLY: 120, Period.TOTAL: 140}, {}, 20),
        ({Period.DAILY: 130}, {Period.TOTAL: 110}, 10),
        ({Period.TOTAL: 101}, {Period.DAILY: 5000}, 1),
        ({}, {Period.MONTHLY: 150}, 50),
    ],
)
async def test_the_grant_is_what_the_least_head_room_holds_beside_the_prompt(
    world: World, ledger: Ledger, tenant: dict[Period, int], key: dict[Period, int], granted: int
) -> None:
    caller = await world.caller(tenant=tenant, key=key)
    assert await _granted(ledger, request(caller)) == [granted]
    assert await world.usage(caller) == {(0, 100 + granted)}


@pytest.mark.parametrize(
    ("tenant", "key", "scope", "limit"),
    [
        ({Period.DAILY: 100}, {}, "tenant.daily", 100),
        ({Period.DAILY: 100, Period.MONTHLY: 99}, {}, "tenant.monthly", 99),
        ({Period.DAILY: 100}, {Period.TOTAL: 0}, "key.total", 0),
        ({Period.DAILY: 5000}, {Period.DAILY: 7}, "key.daily", 7),
    ],
)
async def test_a_refusal_names_the_scope_with_the_least_left_and_holds_nothing(
    world: World, ledger: Ledger, tenant: dict[Period, int], key: dict[Period, int], scope: str, limit: int
) -> None:
    caller = await world.caller(tenant=tenant, key=key)
    assert await ledger.reserve([request(caller)]) == [Verdict(None, scope, limit, limit)]
    assert await world.usage(caller) == {(0, 0)}
    assert await world.count("reservations") == 0


async def test_requests_of_one_batch_see_each_other(world: World, ledger: Ledger) -> None:
    caller = await world.caller(tenant={Period.DAILY: 420})
    batch = [request(caller) for _ in range(4)]
    assert await _granted(ledger, *batch) == [50, 50, 20, None]
    assert await world.usage(caller) == {(0, 420)}


async def test_what_costs_no_tokens_is_never_refused_for_want_of_them(world: World, ledger: Ledger) -> None:
    caller = await world.caller(tenant={Period.DAILY: 100})
    assert await _granted(ledger, request(caller, output_wanted_tokens=0)) == [0]
    await world.sql("update budgets set limit_tokens = 10")
    free = request(caller, prompt_bound_tokens=0, output_wanted_tokens=0)
    assert await _granted(ledger, request(caller, output_wanted_tokens=0), free) == [None, 0]


async def test_an_embedding_needs_room_for_its_prompt_alone(world: World, ledger: Ledger) -> None:
    caller = await world.caller(tenant={Period.DAILY: 100})
    assert await _granted(ledger, request(caller, output_wanted_tokens=0)) == [0]


async def test_a_budget_holds_from_the_next_reservation_on_also_below_what_is_used(
    world: World, ledger: Ledger
) -> None:
    caller = await world.caller()
    first = request(caller)
    assert await _granted(ledger, first) == [50]
    async with unit_of_work(world.database) as uow:
        await uow.budgets.set(caller.tenant_id, "tenant", caller.tenant_id, Period.DAILY, 40)
    assert await ledger.reserve([request(caller)]) == [Verdict(None, "tenant.daily", 40, 0)]
    async with unit_of_work(world.database) as uow:
        await uow.budgets.set(caller.tenant_id, "tenant", caller.tenant_id, Period.DAILY, None)
    assert await _granted(ledger, request(caller)) == [50]


async def test_a_settlement_makes_usage_anew_that_somebody_deleted(world: World, ledger: Ledger) -> None:
    """It failed once, was given up, and its reservation stayed for as long as its process lived."""
    caller = await world.caller(tenant={Period.DAILY: 1000})
    held, other = request(caller), request(caller)
    await ledger.reserve([held, other])
    await world.sql("delete from budget_usage")
    assert await ledger.settle([completed(held.id)]) == [True]
    assert await world.usage(caller) == {(70, 150)}
    assert await ledger.settle([completed(other.id)]) == [True]
    assert await world.usage(caller) == {(140, 0)}
    assert await world.count("reservations") == 0


@pytest.mark.promise("A4")
@pytest.mark.parametrize(
    "change",
    [
        "update tenants set status = 'suspended'",
        "update tenants set rpm = 1",
        "update api_keys set revoked_at = now()",
        "update api_keys set expires_at = now() + interval '1 day'",
        "insert into key_limits (api_key_id, tenant_id) select id, tenant_id from api_keys",
        "delete from api_keys",
    ],
)
async def test_whatever_changed_makes_the_principal_stale(world: World, ledger: Ledger, change: str) -> None:
    caller = await world.caller()
    await world.sql(change)
    assert await ledger.reserve([request(caller)]) == [Verdict(None, "stale", None, None)]


@pytest.mark.promise("A4")
async def test_state_counts_even_where_the_version_agrees(world: World, ledger: Ledger) -> None:
    caller = await world.caller()
    await world.sql("update api_keys set expires_at = $1", datetime.now(UTC) + timedelta(hours=1))
    caller = await world.principal(caller.key_prefix)
    late = request(caller, admitted_at=datetime.now(UTC) + timedelta(hours=2))
    assert await _granted(ledger, request(caller)) == [50]
    assert (await ledger.reserve([late]))[0].refused_by == "stale"
    await world.sql("update tenants set status = 'suspended'")
    caller = await world.principal(caller.key_prefix)
    assert (await ledger.reserve([request(caller)]))[0].refused_by == "stale"


async def test_another_tenants_key_is_stale(world: World, ledger: Ledger) -> None:
    caller, other = await world.caller(), await world.caller()
    mixed = request(caller, api_key_id=other.api_key_id)
    assert (await ledger.reserve([mixed]))[0].refused_by == "stale"


async def test_the_same_id_again_gets_what_it_was_granted_and_holds_no_more(world: World, ledger: Ledger) -> None:
    caller = await world.caller(tenant={Period.DAILY: 130})
    first = request(caller)
    assert await _granted(ledger, first) == [30]
    assert await _granted(ledger, first) == [30]
    assert await world.usage(caller) == {(0, 130)}


async def test_an_id_that_is_anothers_is_refused_as_bad_data(world: World, ledger: Ledger) -> None:
    caller, other = await world.caller(), await world.caller()
    first = request(caller)
    await ledger.reserve([first])
    with pytest.raises(BatchDataError):
        await ledger.reserve([request(other, id=first.id)])
    assert await world.usage(caller) == {(0, 150)}


@pytest.mark.promise("B3")
async def test_a_settlement_is_counted_and_written_down_once(world: World, ledger: Ledger) -> None:
    caller = await world.caller()
    held = request(caller)
    await ledger.reserve([held])
    assert await ledger.settle([completed(held.id, 70), completed(held.id, 70), completed(uuid7())]) == [
        True,
        True,
        False,
    ]
    assert await ledger.settle([completed(held.id, 999)]) == [False]
    assert await world.usage(caller) == {(70, 0)}
    async with unit_of_work(world.database) as uow:
        (record,) = await uow.audit_log.list(caller.tenant_id, since=held.admitted_at, limit=10)
    assert (record.id, record.outcome, record.charged_tokens, record.reserved_tokens) == (
        held.id, Outcome.COMPLETED, 70, 150,
    )  # fmt: skip
    assert (record.first_byte_ms, record.duration_ms, record.request_id) == (20, 500, "request-1")


@pytest.mark.promise("B5")
async def test_a_request_across_an_edge_is_charged_to_the_windows_it_was_admitted_in(
    world: World, ledger: Ledger
) -> None:
    caller = await world.caller(time_zone="Europe/Berlin", tenant={Period.DAILY: 200, Period.MONTHLY: 1000})
    last_of_march = datetime(2027, 3, 31, 21, 59, tzinfo=UTC)  # 23:59 in Berlin
    old, new = (
        windows_at(last_of_march, "Europe/Berlin"),
        windows_at(last_of_march + timedelta(minutes=2), "Europe/Berlin"),
    )
    before = request(caller, day=old.day, month=old.month, admitted_at=last_of_march)
    refused = before._replace(id=uuid7())
    after = request(caller, day=new.day, month=new.month, admitted_at=last_of_march + timedelta(minutes=2))
    assert await _granted(ledger, before, refused, after) == [50, None, 50]
    await ledger.settle([completed(before.id, 70)])
    async with unit_of_work(world.database) as uow:
        usage = [await uow.budget_usage.current(caller.tenant_id, "tenant", caller.tenant_id, w) for w in (old, new)]
    figures = [[(u.period.value, u.used_tokens, u.reserved_tokens) for u in window] for window in usage]
    assert figures == [
        [("daily", 70, 0), ("monthly", 70, 0), ("total", 70, 150)],
        [("daily", 0, 150), ("monthly", 0, 150), ("total", 70, 150)],
    ]


async def test_a_refusal_is_written_down_once(world: World, ledger: Ledger) -> None:
    caller = await world.caller()
    event = _refusal(caller, uuid7())
    await ledger.refuse([event, _refusal(caller, uuid7())])
    await ledger.refuse([event])
    assert await world.count("audit_log") == 2


def _refusal(caller: Principal, event_id: UUID) -> RefusalEvent:
    return RefusalEvent(
        id=event_id, tenant_id=caller.tenant_id, api_key_id=caller.api_key_id, endpoint="/api/chat", model="m",
        request_id="r", address="192.0.2.1", user_agent="u", status=429, reason="key.rpm",
        refused_at=datetime.now(UTC),
    )  # fmt: skip
