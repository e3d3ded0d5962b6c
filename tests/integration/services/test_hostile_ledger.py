"""Attacks on the ledger: each test is a way in which it was seen, or feared, to lose something."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis

from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.db.migrating import downgrade, migrate
from neuronetz_gateway.domain.audit import Outcome, RefusalEvent, Settlement
from neuronetz_gateway.domain.budget import Reservation
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.repositories.ledger import Ledger, ReservationRequest
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.process_life import ProcessLife
from neuronetz_gateway.services.recovery import Recovery
from tests.support.counters import Server
from tests.support.ledgers import World, completed, make_ask, make_database, refusal_of, running_ledger, until
from tests.support.rebuilding import process

AGE_SECONDS = 60
START = datetime(2026, 3, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
type Opens = Callable[..., Ledger]


@pytest.fixture
async def opens(world: World) -> AsyncIterator[Opens]:
    """Ledgers on connections of their own, as other processes have them."""
    async with AsyncExitStack() as closing:

        def another(**changes: Any) -> Ledger:
            database = make_database(world.url, **changes)
            closing.push_async_callback(database.aclose)
            return Ledger(database)

        yield another


def request_of(caller: Principal, by: UUID, /, **changes: Any) -> ReservationRequest:
    now = datetime.now(UTC)
    return ReservationRequest(
        uuid7(), by, caller.tenant_id, caller.tenant_version, caller.api_key_id, caller.key_version, START,
        START, 100, 50, 0, "llama3:latest", "/api/chat", "request-1", "192.0.2.1", "test/1", now,
    )._replace(**changes)  # fmt: skip


async def register(world: World) -> UUID:
    process_id = uuid7()
    async with unit_of_work(world.database) as uow:
        await uow.processes.heartbeat(process_id, host="here", pid=1)
    return process_id


async def test_the_functions_of_the_last_release_work_on_the_new_tables(world: World) -> None:
    """A rolling upgrade migrates first: for a while processes of the last release reserve, settle, refuse."""
    caller = await world.caller()
    asked, refused = uuid7(), uuid7()
    process_id = await register(world)
    now = datetime.now(UTC)
    await world.sql(
        "select * from reserve_r1($1)",
        [(asked, process_id, caller.tenant_id, caller.tenant_version, caller.api_key_id, caller.key_version, START,
          START, 100, 50, "m", "/e", "r", "a", "u", now)],
    )  # fmt: skip
    await world.sql(
        "select refuse_r1($1)",
        [(refused, caller.tenant_id, caller.api_key_id, "/e", "m", "r", "a", "u", 429, "key.rpm", now)],
    )
    await world.sql("select settle_r1($1)", [(asked, "completed", 200, 40, 30, 70, False, 1, 2)])
    assert await world.usage(caller) == {(70, 0)}


@pytest.mark.parametrize("swept", [False, True], ids=["living", "swept"])
async def test_what_the_last_release_reserved_is_settled_or_swept_by_this_one(
    world: World, opens: Opens, *, swept: bool
) -> None:
    caller = await world.caller()
    process_id, asked = await register(world), uuid7()
    await world.sql(
        "select * from reserve_r1($1)",
        [(asked, process_id, caller.tenant_id, caller.tenant_version, caller.api_key_id, caller.key_version, START,
          START, 100, 50, "m", "/e", "r", "a", "u", datetime.now(UTC))],
    )  # fmt: skip
    if swept:
        await world.sql("update processes set swept_at = now()")
        assert await opens().abandon(age=timedelta(seconds=60), most=10) == 1
    else:
        assert await opens().settle([completed(asked)]) == [True]
    assert await world.usage(caller) == {(150 if swept else 70, 0)}


async def test_a_filled_ledger_goes_back_and_forth(database_url: str) -> None:
    """0003 -> 0002 -> 0003 with rows of every kind in all tables, then every function once more."""
    for round_number in range(2):
        database = make_database(database_url)
        world, ledger = World(database_url, database), Ledger(database)
        caller = await world.caller()
        process_id = await register(world)
        requests = [request_of(caller, process_id) for _ in range(5)]
        await ledger.reserve(requests)
        await ledger.settle([completed(each.id) for each in requests[:3]])
        await ledger.refuse([refusal_of(caller, make_ask())])
        nobody = refusal_of(caller, make_ask())
        await ledger.refuse([_nobodys(nobody)])
        await world.sql("select audit_log_ensure_partitions((now() at time zone 'UTC')::date, $1)", 9 + round_number)
        if round_number:
            await world.sql("update processes set swept_at = now()")
            while await ledger.abandon(age=timedelta(seconds=60), most=100):
                pass
            assert await world.usage(caller) == {(3 * 70 + 2 * 150, 0)}
            rows = await world.sql("select * from audit_log where tenant_id = $1 and hash is null", caller.tenant_id)
            assert rows == []
            assert await world.count("reservations") == 0
        await database.aclose()
        if not round_number:
            await asyncio.to_thread(downgrade, database_url, "0002")
            await asyncio.to_thread(migrate, database_url)


def _nobodys(event: RefusalEvent) -> RefusalEvent:
    return RefusalEvent(
        event.id, None, None, event.endpoint, event.model, event.request_id, event.address, event.user_agent,
        401, "unauthenticated", event.refused_at, 7,
    )  # fmt: skip


async def test_a_refusal_of_the_day_before_yesterday_is_seen_by_the_sweep(world: World, opens: Opens) -> None:
    """A laptop is shut on Friday with a commit unknown and its request refused; on Monday the sweep finds both."""
    caller = await world.caller()
    ask = make_ask(admitted_at=datetime.now(UTC) - timedelta(days=3))
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, ask)
    refused = refusal_of(caller, ask)
    day = ask.admitted_at.date()
    await world.sql("select refuse_r1($1)", [(refused.id, caller.tenant_id, caller.api_key_id, "/e", "m", "r", "a", "u",
                                              503, "unavailable", ask.admitted_at)])  # fmt: skip
    await world.sql("update audit_log set recorded_on = $1", day)
    await world.sql("update processes set heartbeat_at = heartbeat_at - interval '3 days'")
    await opens().abandon(age=timedelta(seconds=60), most=10)
    rows = await world.sql("select outcome, charged_tokens from audit_log where id = $1", ask.id)
    assert [(row["outcome"], row["charged_tokens"]) for row in rows] == [("refused", 0)]


async def test_as_many_without_usage_as_one_sweep_takes_do_not_hide_the_others(
    world: World, opens: Opens
) -> None:
    bad, good = await world.caller(), await world.caller()
    process_id = await register(world)
    ledger = opens()
    await ledger.reserve([request_of(bad, process_id) for _ in range(256)])
    await ledger.reserve([request_of(good, process_id) for _ in range(5)])
    await world.sql("delete from budget_usage where scope_id = $1", bad.tenant_id)
    await world.sql("update processes set swept_at = now()")
    recovery = Recovery(opens(), after_seconds=AGE_SECONDS, happened=lambda _event, _times: None)
    assert await recovery.sweep() == 261


async def test_a_sweep_that_was_due_before_the_machine_slept_leaves_the_living_alone(
    world: World, opens: Opens
) -> None:
    """The heartbeat said that a sweep is due; then everything stood still for an hour, Postgres too.

    decisions/0016 guards against a jump between two heartbeats, not against one between a heartbeat and its sweep.
    """
    caller = await world.caller()
    living = await register(world)
    await opens().reserve([request_of(caller, living)])
    recovery = Recovery(opens(), after_seconds=AGE_SECONDS, happened=lambda _event, _times: None)
    for seconds in range(0, 65, 5):
        recovery.heard(START + timedelta(seconds=seconds))
    assert recovery.due
    await world.sql("update processes set heartbeat_at = heartbeat_at - interval '1 hour'")  # as the clock jumps
    await recovery.start()
    await until(lambda: _is(not recovery.due))
    await asyncio.sleep(0.3)
    await recovery.aclose()
    assert await world.usage(caller) == {(0, 150)}


@pytest.mark.parametrize("text", ["nul\x00", "\ud800", "x" * 2_000_000], ids=["nul", "surrogate", "long"])
@pytest.mark.parametrize("field", ["model", "user_agent"])
async def test_a_poisonous_text_fails_nobody_else(world: World, opens: Opens, text: str, field: str) -> None:
    caller = await world.caller()
    process_id = await register(world)
    good, bad = make_ask(), make_ask(**{field: text})
    async with running_ledger(world.url) as ledger:
        asked = await asyncio.gather(
            ledger.reserve(caller, make_ask()), ledger.reserve(caller, bad), ledger.reserve(caller, good),
            return_exceptions=True,
        )  # fmt: skip
        print([type(each).__name__ for each in asked])
        ledger.refuse(refusal_of(caller, make_ask(**{field: text})))
        ledger.refuse(refusal_of(caller, good_refusal := make_ask()))
        ledger.refuse(refusal_of(caller, make_ask(**{field: text})))
        await until(lambda: _is(ledger.refusals_waiting == 0))
    assert not isinstance(asked[0], BaseException)
    assert not isinstance(asked[2], BaseException)
    assert isinstance(asked[1], GatewayError) or len(text) > 1000
    assert await world.sql("select 1 from audit_log where id = $1", good_refusal.id)
    del process_id, opens


async def test_nulls_where_none_may_be_fail_alone(world: World, opens: Opens) -> None:
    caller = await world.caller()
    ledger = opens()
    process_id = await register(world)
    granted: list[object] = []
    for changes in ({"model": None}, {"id": None}, {"admitted_at": None}, {"day": None}, {"tenant_id": None},
                    {"prompt_bound_tokens": None}, {"output_wanted_tokens": None}, {"estimated_tokens": None},
                    {"process_id": None}, {"prompt_bound_tokens": -5}):  # fmt: skip
        try:
            verdict: object = (await ledger.reserve([request_of(caller, process_id, **changes)]))[0]
        except (BatchDataError, NotCommittedError, UnknownOutcomeError) as error:
            verdict = error
        print(changes, "->", type(verdict).__name__, verdict)
        if not (isinstance(verdict, BatchDataError) or verdict.granted_tokens is None):  # type: ignore[attr-defined]
            granted.append((changes, await world.count("reservations")))
    assert granted == []


async def _step(world: World, kind: str, callers: list[Principal], context: dict[str, Any]) -> None:  # noqa: PLR0912, C901 - one branch an attack
    rng: random.Random = context["random"]
    if kind == "reserve":
        process_id = rng.choice(context["processes"])
        batch = [request_of(each, process_id, day=START + timedelta(days=rng.randrange(40)))
                 for each in rng.choices(callers, k=rng.randrange(1, 20))]  # fmt: skip
        batch = [each._replace(tenant_version=(v := context["versions"][each.api_key_id])[0], key_version=v[1])
                 for each in batch]  # fmt: skip
        verdicts = await context["ledger"].reserve(batch)
        for each, verdict in zip(batch, verdicts, strict=True):
            if verdict.granted_tokens is not None:
                context["held"].append(each.id)
    elif kind == "settle":
        held = context["held"]
        batch_ids = {held.pop(rng.randrange(len(held))) for _ in range(min(len(held), rng.randrange(1, 30)))}
        outcomes = [Outcome.COMPLETED, Outcome.NOT_FORWARDED]
        context["maybe"] = list(batch_ids)
        ends = {
            each: Outcome.NOT_FORWARDED if each in context["refused"] else rng.choice(outcomes) for each in batch_ids
        }
        await context["ledger"].settle(
            [completed(each, 70 if end is Outcome.COMPLETED else 0, end) for each, end in ends.items()]
        )
    elif kind == "refuse":
        some = rng.sample(context["held"], k=min(len(context["held"]), 4))
        context["refused"].update(some)
        events = [refusal_of(rng.choice(callers), make_ask()) for _ in range(rng.randrange(1, 20))]
        events += [refusal_of(rng.choice(callers), make_ask(id=each)) for each in some if context["collide"]]
        await context["ledger"].refuse(events)
    elif kind == "abandon":
        await context["ledger"].abandon(age=timedelta(seconds=60), most=rng.randrange(1, 40))
    elif kind == "die":
        async with unit_of_work(world.database) as uow:
            new = uuid7()
            await uow.processes.heartbeat(new, host="here", pid=1)
        gone = context["processes"].pop(0)
        context["processes"].append(new)
        await world.sql("update processes set heartbeat_at = heartbeat_at - interval '2 minutes' where id = $1", gone)
    elif kind == "adjust":
        caller = rng.choice(callers)
        await world.sql(
            "select adjust_r1($1, $2, $3, $4, 5, $5, $6, '', 'm', 'why', 'me', now())",
            uuid7(), uuid7(), caller.tenant_id, rng.choice([None, caller.api_key_id]),
            START + timedelta(days=rng.randrange(40)), START,
        )  # fmt: skip
        context["adjusted"][0] += 5
    elif kind == "rebuild":
        caller = rng.choice(callers)
        async with unit_of_work(world.database) as uow:
            await uow.admitted_requests.hold_back(caller.tenant_id)
            await uow.admitted_requests.fence_off(caller.tenant_id)
            await uow.admitted_requests.history(caller.tenant_id, since=datetime.now(UTC) - timedelta(seconds=61))
    elif kind == "drop":
        await world.sql(
            "select audit_log_drop_day((now() at time zone 'UTC')::date - $1::integer, 3)", rng.randrange(3, 9)
        )
    elif kind == "partitions":
        await world.sql("select audit_log_ensure_partitions((now() at time zone 'UTC')::date - 8, 16)")
    elif kind == "cli":
        caller = rng.choice(callers)
        async with world.connection() as c, c.transaction():
            await c.execute(
                "update tenants set output_cap = $2 where id = $1", caller.tenant_id, rng.randrange(1, 9999)
            )
            await c.execute("update api_keys set name = $2 where id = $1", caller.api_key_id, str(rng.random()))
            await c.execute(
                "insert into key_limits (api_key_id, tenant_id, rpm) values ($1, $2, 5) on conflict (api_key_id)"
                " do update set rpm = key_limits.rpm + 1", caller.api_key_id, caller.tenant_id)  # fmt: skip
            await c.execute(
                "insert into budgets (tenant_id, scope_id, scope, period, limit_tokens) values ($1, $1, 'tenant', 'total', $2)"
                " on conflict (scope_id, period) do update set limit_tokens = excluded.limit_tokens",
                caller.tenant_id, 10**12)  # fmt: skip
    elif kind == "reread":
        rows = await world.sql(
            "select k.id, t.version, k.version as key from tenants t join api_keys k on k.tenant_id = t.id"
        )
        context["versions"].update({row["id"]: (row["version"], row["key"]) for row in rows})


@pytest.mark.parametrize("collide", [False, True], ids=["apart", "refusals of what is swept"])
async def test_no_mix_of_all_that_locks_ever_deadlocks(world: World, opens: Opens, *, collide: bool) -> None:
    callers = [await world.caller() for _ in range(6)]
    errors: Counter[str] = Counter()
    done: Counter[str] = Counter()
    processes = [await register(world) for _ in range(3)]
    versions = {each.api_key_id: (each.tenant_version, each.key_version) for each in callers}
    held: list[UUID] = []
    adjusted = [0]
    refused: set[UUID] = set()
    ends = asyncio.get_running_loop().time() + 8

    async def worker(number: int, kinds: list[str]) -> None:
        context = {
            "random": random.Random(number), "processes": processes, "versions": versions, "held": held,
            "ledger": opens(lock_timeout_seconds=3, statement_timeout_seconds=6), "collide": collide, "adjusted": adjusted, "refused": refused,
        }  # fmt: skip
        while asyncio.get_running_loop().time() < ends:
            kind = context["random"].choice(kinds)
            context["maybe"] = []
            try:
                await _step(world, kind, callers, context)
                done[kind] += 1
            except (BatchDataError, NotCommittedError, UnknownOutcomeError) as error:
                errors[f"{kind}: {type(error).__name__}: {error}"] += 1
                held.extend(context["maybe"])
            except (asyncpg.PostgresError, GatewayError) as error:
                errors[f"{kind}: {type(error).__name__}: {error} {error.__cause__}"] += 1
            await asyncio.sleep(0)

    ledger_kinds = ["reserve", "reserve", "settle", "refuse", "abandon"]
    await asyncio.gather(
        *(worker(n, ledger_kinds) for n in range(5)),
        *(worker(10 + n, ["rebuild", "cli", "adjust", "reread", "abandon"]) for n in range(3)),
        worker(20, ["drop", "partitions", "die", "reread"]),
    )
    deadlocks = (await world.sql("select deadlocks from pg_stat_database where datname = current_database()"))[0][0]
    print("done", dict(done), "errors", dict(errors), "deadlocks", deadlocks)
    await world.sql("update processes set swept_at = now()")
    sweeper = opens()
    while await sweeper.abandon(age=timedelta(seconds=0), most=200):
        pass
    assert await world.count("reservations") == 0
    assert {row[0] for row in await world.sql("select distinct reserved from budget_usage")} == {0}
    used = (await world.sql("select sum(used) from budget_usage where period = 'total' and scope_id = any($1)",
                            [each.tenant_id for each in callers]))[0][0]  # fmt: skip
    audited = (await world.sql("select sum(charged_tokens) from audit_log"))[0][0]
    doubles = await world.sql("select id from audit_log group by id having count(*) > 1")
    broken = await world.sql(
        "select count(*) from (select *, lag(hash) over (partition by writer, recorded_on order by sequence) as before,"
        " row_number() over (partition by writer, recorded_on order by sequence) as place from audit_log) a"
        " where place <> sequence or hash <> sha256(coalesce(before, '') || convert_to(audit_text_r1("
        "(select b from audit_log b where b.id = a.id and b.recorded_on = a.recorded_on)), 'UTF8'))"
    )
    print("used", used, "audited", audited, "doubles", len(doubles), "broken links", broken[0][0])
    assert (used, len(doubles), broken[0][0]) == (audited, 0, 0)
    assert deadlocks == 0


async def test_a_settlement_that_postgres_will_not_have_is_not_held_for_the_life_of_its_process(
    world: World, opens: Opens
) -> None:
    """Somebody reset a budget with plain SQL while a request ran: its reservation is lost to its own living process."""
    caller = await world.caller()
    async with running_ledger(world.url, heartbeat_seconds=0.05) as ledger:
        held = await ledger.reserve(caller, make_ask())
        await world.sql("delete from budget_usage where tenant_id = $1", caller.tenant_id)
        ledger.settle(completed(held))
        await until(lambda: _is(ledger.pending == 0))
        again = await ledger.reserve(caller, make_ask())
        ledger.settle(completed(again))
        await until(lambda: _is(ledger.pending == 0))
        found = await opens().abandon(age=timedelta(seconds=60), most=10)
        left, rows = await world.count("reservations"), await world.count("audit_log")
        print(f"swept {found}, reservations left {left}, audit rows {rows} of 2, usage {await world.usage(caller)}")
        assert (left, rows) == (0, 2)


async def test_a_sweep_that_meets_one_it_cannot_charge_takes_its_locks_in_order_all_the_same(
    world: World, opens: Opens
) -> None:
    """It settled the others one by one then, in the order of their ids, keeping the usage rows of each locked.

    So it took those of the later tenant before those of the earlier one: a reservation for both waited for it, it for
    that, and a whole batch of requests was answered 503.
    """
    callers, bad = [await world.caller() for _ in range(40)], await world.caller()
    process_id, living = await register(world), await register(world)
    ledger = opens()
    await ledger.reserve([request_of(bad, process_id)])
    await ledger.reserve([request_of(each, living) for each in callers])
    for _ in range(5):
        await ledger.reserve([request_of(each, process_id) for each in reversed(callers)])
    await world.sql("delete from budget_usage where tenant_id = $1", bad.tenant_id)
    await world.sql("update processes set swept_at = now() where id = $1", process_id)
    errors: Counter[str] = Counter()
    over = asyncio.Event()

    async def go_on(ledger: Ledger) -> None:
        while not over.is_set():
            try:
                await ledger.reserve([request_of(each, living) for each in random.sample(callers, 8)])
            except NotCommittedError as error:
                errors[f"reserve: {error}"] += 1

    busy = [asyncio.create_task(go_on(opens(statement_timeout_seconds=5, lock_timeout_seconds=5))) for _ in range(3)]
    sweeper = opens(statement_timeout_seconds=5, lock_timeout_seconds=5)
    for _ in range(2):
        try:
            errors["swept"] += await sweeper.abandon(age=timedelta(seconds=60), most=256)
        except NotCommittedError as error:
            errors[f"abandon: {error}"] += 1
    over.set()
    await asyncio.gather(*busy)
    print(dict(errors))
    assert not [each for each in errors if "40P01" in each]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    started = [Server(tmp_path_factory.mktemp(name)) for name in "xy"]
    yield started
    for server in started:
        server.stop()


async def test_a_redis_that_loses_its_memory_again_and_again_lets_nobody_past_a_limit(
    world: World, servers: list[Server]
) -> None:
    """Two processes, 8 callers at once that leave at random, FLUSHALL, ended sessions: 30 requests a minute, not one more."""
    server = servers[0]
    server.clear()
    caller = await world.caller()
    await world.sql("update tenants set rpm = 30 where id = $1", caller.tenant_id)
    prefix = (await world.sql("select prefix from api_keys where id = $1", caller.api_key_id))[0][0]
    rng = random.Random(7)
    answers: Counter[str] = Counter()
    let_in: list[UUID] = []
    ends = asyncio.get_running_loop().time() + 8
    async with process(world, server.url) as one, process(world, server.url) as other:

        async def ask() -> None:
            while asyncio.get_running_loop().time() < ends:
                gateway = rng.choice([one, other])
                try:
                    async with asyncio.timeout(rng.choice([5, 5, 0.001, 0.004, 0.01, 0.03])):
                        admission = await gateway.let_in(prefix)
                except (GatewayError, TimeoutError) as error:
                    answers[type(error).__name__] += 1
                    await asyncio.sleep(rng.random() / 20)
                    continue
                let_in.append(admission.id)
                answers["let in"] += 1
                if rng.random() < 0.7:
                    gateway.ledger.settle(completed(admission.id))
                    gateway.limiter.close(admission, 70)

        async def forget() -> None:
            client = Redis.from_url(server.url)
            while asyncio.get_running_loop().time() < ends:
                await asyncio.sleep(rng.random() / 15)
                await client.flushall()
                answers["flushed"] += 1
                if rng.random() < 0.1:
                    await world.sql(
                        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                        " and pid <> pg_backend_pid() and application_name like '%' || $1 || '%'",
                        rng.choice(["reserve", "settle"]),
                    )
            await client.aclose()

        await asyncio.gather(*(ask() for _ in range(8)), forget())
    print(dict(answers))
    ids = {row[0] for row in await world.sql(
        "select id from reservations union select id from audit_log where outcome not in ('not_forwarded', 'refused')")}  # fmt: skip
    assert set(let_in) <= ids
    assert len(let_in) <= 30
    assert answers["let in"]


class LastReleaseLedger(Ledger):
    """Settles as the release before revision 0003 does."""

    async def settle(self, batch: Sequence[Settlement]) -> list[bool]:
        rows = [
            (each.reservation_id, each.outcome, each.status, each.charge.prompt_tokens, each.charge.output_tokens,
             each.charge.total_tokens, each.charge.estimated, 20, 500) for each in batch
        ]  # fmt: skip
        answer = await self._settling.fetch("select settle_r1($1)", rows)
        found = set(answer[0][0])
        return [each.reservation_id in found for each in batch]


async def test_a_process_of_the_last_release_settles_what_runs_while_the_schema_is_upgraded(
    world: World, opens: Opens
) -> None:
    caller = await world.caller()
    async with running_ledger(world.url, LastReleaseLedger, close_within_seconds=2) as ledger:
        ledger.settle(completed(await ledger.reserve(caller, make_ask())))
    await world.sql("update processes set heartbeat_at = heartbeat_at - interval '2 minutes'")
    swept = await opens().abandon(age=timedelta(seconds=60), most=10)
    print(f"swept after its end: {swept}; (used, reserved) {await world.usage(caller)}, really used: 70")
    assert await world.usage(caller) == {(70, 0)}


async def test_ended_sessions_and_leaving_callers_lose_nothing(world: World) -> None:
    """Two processes, callers that leave at any await, all sessions of the ledger ended again and again."""
    caller = await world.caller()
    rng = random.Random(3)
    fates: dict[UUID, str] = {}
    ends = asyncio.get_running_loop().time() + 8
    async with AsyncExitStack() as closing:
        ledgers = []
        for _ in range(2):
            database = make_database(world.url, statement_timeout_seconds=2, lock_timeout_seconds=1)
            closing.push_async_callback(database.aclose)
            repository = Ledger(database)
            life = ProcessLife(repository, new_id=uuid7, heartbeat_seconds=0.2)
            ledger = BudgetLedger(
                repository, life=life, statement_timeout_seconds=2, answer_within_seconds=rng.choice([0.01, 0.9]),
            )  # fmt: skip
            await ledger.start()
            closing.push_async_callback(ledger.aclose)
            ledgers.append(ledger)

        async def ask() -> None:
            while asyncio.get_running_loop().time() < ends:
                asked, ledger = make_ask(), rng.choice(ledgers)
                try:
                    async with asyncio.timeout(rng.choice([5, 5, 0.0, 0.001, 0.003, 0.01])):
                        held = await ledger.reserve(caller, asked)
                except TimeoutError:
                    fates[asked.id] = "left"
                except GatewayError:
                    fates[asked.id] = "refused"
                    ledger.refuse(refusal_of(caller, asked))
                    await asyncio.sleep(0.01)
                else:
                    fates[asked.id] = "served"
                    await asyncio.sleep(rng.random() / 50)
                    ledger.settle(completed(held))

        async def kill() -> None:
            while asyncio.get_running_loop().time() < ends:
                await asyncio.sleep(rng.random() / 5)
                await world.sql(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid"
                    " <> pg_backend_pid() and application_name like '%gateway ' || $1 || '%'",
                    rng.choice(["reserve", "settle", "refuse"]),
                )

        await asyncio.gather(*(ask() for _ in range(20)), kill())
        async with asyncio.timeout(20):
            while any(ledger.pending for ledger in ledgers):
                await asyncio.sleep(0.05)
    rows = Counter(
        {row["id"]: row["n"] for row in await world.sql("select id, count(*) as n from audit_log group by id")}
    )
    print(Counter(fates.values()), "reservations left", await world.count("reservations"))
    wrong = {fate: sum(1 for each, f in fates.items() if f == fate and not (rows[each] == 1 or (fate == "left" and rows[each] == 0)))
             for fate in ("served", "refused", "left")}  # fmt: skip
    assert wrong == {"served": 0, "refused": 0, "left": 0}
    assert await world.count("reservations") == 0
    assert await world.usage(caller) == {(70 * Counter(fates.values())["served"], 0)}


async def test_what_is_charged_has_a_row_that_says_so(world: World, opens: Opens) -> None:
    """A charge whose id has a refusal already loses its own row, without an error."""
    caller = await world.caller()
    asked = request_of(caller, await register(world))
    ledger = opens()
    await ledger.reserve([asked])
    await ledger.refuse([refusal_of(caller, make_ask(id=asked.id))])
    with suppress(BatchDataError):
        await ledger.settle([completed(asked.id)])
    [[used]] = await world.sql(
        "select used from budget_usage where scope_id = $1 and period = 'total'", caller.tenant_id
    )
    [[audited]] = await world.sql("select sum(charged_tokens) from audit_log")
    assert used == audited


async def _is(holds: bool) -> bool:
    return holds
