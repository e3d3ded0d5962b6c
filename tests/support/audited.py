"""An audit log of several days, written by the real functions under another clock, to be tampered with."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg

from neuronetz_gateway.checkpoint_signing import CheckpointKeys, CheckpointSigner
from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.verification import VerificationReport
from neuronetz_gateway.services.audit_checkpoints import AuditCheckpoints
from neuronetz_gateway.services.audit_verification import AuditVerifier
from tests.support.ledgers import World, make_database
from tests.support.stores import asyncpg_dsn

SECRET = b"0123456789abcdef0123456789abcdef"
NASTY = (
    "",
    'a "quoted" \\ back\\slash / slash',
    "tab\tnewline\nreturn\rbell\x07backspace\bfeed\fescape\x1b[31mdelete\x7fnext\x85",
    "umlaut äöü, han 漢字, emoji \U0001f600\u200d\U0001f525, line\u2028separator, bom\ufeff, last \U0010ffff\ufffe",
    "'; drop table audit_log; --",
    "</script>\\u0000 null None true",
    "x" * 5000,
)
# The functions ask now() of the session's search_path: the rows of other days are theirs, only the clock is ours.
_PATH = "clock,pg_catalog,public"
_CLOCK = """
create schema if not exists clock;
create table if not exists clock.face (at timestamptz);
create or replace function clock.now() returns timestamptz language sql stable as
  $$ select coalesce((select at from clock.face), pg_catalog.now()) $$;
"""


class Writer:
    """Lanes of processes, each with its chain, at whichever time."""

    def __init__(self, connection: Any, chance: random.Random) -> None:
        self.connection = connection
        self.chance = chance
        self.tenant_id, self.api_key_id = uuid7(), uuid7()

    async def set_clock(self, at: datetime) -> None:
        await self.connection.execute("delete from clock.face")
        await self.connection.execute("insert into clock.face values ($1)", at)

    async def refuse(self, writer: UUID, at: datetime, count: int = 1, ids: Sequence[UUID] = ()) -> None:
        """Refusals with nasty texts, some of nobody, some that stand for many."""
        rows = [
            (
                ids[place] if ids else uuid7(),
                *self.chance.choice([(self.tenant_id, self.api_key_id), (self.tenant_id, None), (None, None)]),
                *(self.chance.choice(NASTY) for _ in range(5)),
                self.chance.choice([400, 401, 429, 503]),
                self.chance.choice(NASTY),
                at - timedelta(microseconds=self.chance.randrange(10**6)),
                self.chance.choice([1, 1, 17]),
            )
            for place in range(count)
        ]
        await self.set_clock(at)
        await self.connection.execute("select refuse_r2($1, $2)", writer, rows)

    async def settle(self, writer: UUID, at: datetime, count: int = 1) -> None:
        """Reservations with their ends."""
        ids = [uuid7() for _ in range(count)]
        await self.set_clock(at)
        await self.hold(ids, at)
        ends = [
            (each, self.chance.choice(["completed", "caller_left", "cut", "not_forwarded"]), 200, *self._tokens())
            for each in ids
        ]
        found = await self.connection.fetchval("select settle_r2($1, $2)", writer, ends)
        assert set(found) == set(ids)

    async def adjust(self, writer: UUID, at: datetime, tokens: int) -> None:
        await self.set_clock(at)
        arguments = (uuid7(), self.tenant_id, self.api_key_id, tokens, *_windows(at), "", "", "wrong", "cli:ops", at)
        await self.connection.execute(
            "select adjust_r1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", writer, *arguments[:4],
            *arguments[4:6], *arguments[6:],
        )  # fmt: skip

    def _tokens(self) -> tuple[Any, ...]:
        prompt, output = self.chance.randrange(50), self.chance.randrange(50)
        first = self.chance.choice([None, 5])
        return prompt, output, prompt + output, self.chance.random() < 0.5, first, 1234

    async def hold(self, ids: Sequence[UUID], at: datetime) -> None:
        day, month = _windows(at)
        await self.connection.execute(
            """insert into budget_usage (tenant_id, scope_id, period, window_start, reserved)
               select $1, w.scope_id, w.period, w.window_start, $5 from budget_windows_r1($1, $2, $3, $4) w
               on conflict (scope_id, period, window_start)
               do update set reserved = budget_usage.reserved + excluded.reserved""",
            self.tenant_id, self.api_key_id, day, month, 150 * len(ids),
        )  # fmt: skip
        await self.connection.executemany(
            """insert into reservations (id, process_id, tenant_id, api_key_id, day, month, reserved, prompt_bound,
                                         model, endpoint, request_id, address, user_agent, admitted_at)
               values ($1, $1, $2, $3, $4, $5, 150, 100, $6, '/api/chat', $7, '192.0.2.1', $8, $9)""",
            [
                (each, self.tenant_id, self.api_key_id, day, month, *(self.chance.choice(NASTY) for _ in range(3)),
                 at - timedelta(microseconds=self.chance.randrange(10**6)))
                for each in ids
            ],
        )  # fmt: skip


def _windows(at: datetime) -> tuple[datetime, datetime]:
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day, day.replace(day=1)


def clocked_url(url: str) -> str:
    """A database whose now() is what a writer has said (`writing`)."""
    return f"{url}&search_path={quote(_PATH)}"


@asynccontextmanager
async def writing(url: str, seed: int = 1) -> AsyncIterator[Writer]:
    """A connection whose now() is what the writer says."""
    setting_up = await asyncpg.connect(asyncpg_dsn(url))
    try:
        await setting_up.execute(_CLOCK)
    finally:
        await setting_up.close()
    connection = await asyncpg.connect(asyncpg_dsn(url), server_settings={"search_path": _PATH, "timezone": "UTC"})
    try:
        yield Writer(connection, random.Random(seed))
    finally:
        await connection.close()


class Audited(World):
    """A world whose audit log is signed and verified."""

    def checkpoints(self, secret: bytes = SECRET, **changes: Any) -> AuditCheckpoints:
        values: dict[str, Any] = {"sink": None, "every_seconds": 300, **changes}
        return AuditCheckpoints(self.database, CheckpointSigner(secret), **values)

    async def verify(self, *secrets: bytes, **changes: Any) -> VerificationReport:
        keys = CheckpointKeys(CheckpointSigner(each).public_key for each in secrets or (SECRET,))
        reporting = ReportingDatabase(self.url, connect_timeout_seconds=5)
        return await AuditVerifier(reporting, keys).verify(**changes)

    async def fill(self, *, writers: int = 3, batches: int = 4, seed: int = 1) -> list[date]:
        """Three days of several chains, with checkpoints in between; the last of them lists every row."""
        today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        days = [today - timedelta(days=2), today - timedelta(days=1), today]
        await self.sql("select audit_log_ensure_partitions($1, 1)", days[0].date())  # the second has none
        clocked = make_database(clocked_url(self.url))
        checkpoints = AuditCheckpoints(clocked, CheckpointSigner(SECRET), None, every_seconds=300)
        lanes = [uuid7() for _ in range(writers)]
        async with writing(self.url, seed) as writer:
            for day in days:
                for batch in range(batches):
                    at = day + timedelta(minutes=batch, microseconds=writer.chance.randrange(10**6))
                    for lane in lanes:
                        await writer.refuse(lane, at, writer.chance.randint(1, 3))
                        await writer.settle(lane, at, writer.chance.randint(1, 3))
                        await writer.adjust(lane, at, -1 if batch else 10)
                    await checkpoints.write()
        await clocked.aclose()
        return [day.date() for day in days]
