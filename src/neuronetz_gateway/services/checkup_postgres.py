"""Checks Postgres: whether it is there, as it should be, at this version's schema, with gateways that live."""

from collections.abc import Callable
from datetime import datetime

from neuronetz_gateway.db.migrating import head, is_known
from neuronetz_gateway.db.opening import database_of
from neuronetz_gateway.domain.checkup import CheckResult, broken, doubtful, fine
from neuronetz_gateway.repositories.database_facts import DatabaseFacts, ServerFacts
from neuronetz_gateway.services.checkup_clock import clock_result
from neuronetz_gateway.settings import Settings

_OLDEST_VERSION = 140_000
_DAYS_AHEAD = 7
_DAYS_WANTED = 2
_MIGRATE = "neuronetz-gateway migrate"


async def check_postgres(settings: Settings, now: Callable[[], datetime]) -> list[CheckResult]:
    """Raises UnavailableError where it does not answer."""
    database = database_of(settings)
    try:
        async with database.begin() as connection:
            facts = DatabaseFacts(connection)
            before = now()
            server = await facts.server()
            results = [
                _version(server),
                clock_result("postgres clock", server.now, before + (now() - before) / 2),
                *_durability(server),
            ]
            if server.read_only:
                results.append(
                    broken("postgres role", "it takes no writes: a standby, or read-only", "name the primary")
                )
            schema = _schema(await facts.revision() if server.migrated else None)
            results.append(schema)
            if server.migrated:
                results += await _of_the_gateway(facts, settings, server.role)
            return results
    finally:
        await database.aclose()


def _version(server: ServerFacts) -> CheckResult:
    if server.version_number < _OLDEST_VERSION:
        return broken("postgres", f"version {server.version} is too old", "Postgres 14 or newer")
    return fine("postgres", f"answers, version {server.version}")


def _durability(server: ServerFacts) -> list[CheckResult]:
    """A commit that can be lost is a request that was served, not charged, and stands in no audit log."""
    if not server.fsync or not server.full_page_writes:
        name = "fsync" if not server.fsync else "full_page_writes"
        return [broken("postgres durability", f"{name} is off: a crash loses or breaks data", f"set {name} = on")]
    if server.synchronous_commit == "off":
        return [
            broken(
                "postgres durability",
                "synchronous_commit is off: a crash loses what was just committed",
                "set synchronous_commit = on",
            )
        ]
    return [fine("postgres durability", f"fsync is on, synchronous_commit is {server.synchronous_commit}")]


def _schema(revision: str | None) -> CheckResult:
    newest = head()
    if revision == newest:
        return fine("schema", f"at {newest}, the newest")
    if revision is None:
        return broken("schema", "this database was never migrated", f"run: {_MIGRATE}")
    if is_known(revision):
        return broken("schema", f"behind: at {revision}, this version wants {newest}", f"run: {_MIGRATE}")
    return broken(
        "schema", f"ahead: at {revision}, which this version does not know", "install the gateway that migrated it"
    )


async def _of_the_gateway(facts: DatabaseFacts, settings: Settings, role: str) -> list[CheckResult]:
    missing = await facts.tables_without_rights()
    if missing:
        return [
            broken(
                "postgres role",
                f"{role} cannot read and write: {missing}",
                "connect as the role that migrates, or grant it select, insert, update, delete",
            )
        ]
    return [
        fine("postgres role", f"{role} reads and writes the gateway's tables"),
        _partitions(await facts.days_ahead(_DAYS_AHEAD)),
        _processes(*await facts.processes(settings.heartbeat_s * 3)),
        _abandoned(await facts.abandoned(settings.recovery_after_s)),
    ]


def _partitions(days: int) -> CheckResult:
    mend = f"run: {_MIGRATE}; a serving gateway makes them every hour, its log says why it did not"
    if days < 0:
        return broken("audit days", "there is no partition for today: nothing can be written down", mend)
    if days < _DAYS_WANTED:
        return doubtful("audit days", f"made for {days} days ahead only", mend)
    return fine("audit days", f"made for {days} days ahead")


def _processes(alive: int, hosts: int) -> CheckResult:
    if not alive:
        return doubtful("gateway", "no process is serving on this database", "run: neuronetz-gateway serve")
    processes = "1 process serves" if alive == 1 else f"{alive} processes serve"
    return fine("gateway", f"{processes}, on {hosts} machine{'s' if hosts > 1 else ''}")


def _abandoned(waiting: int) -> CheckResult:
    if not waiting:
        return fine("abandoned reservations", "none")
    return doubtful(
        "abandoned reservations",
        f"{waiting:,} of processes that are gone; their tokens are held",
        "a serving gateway charges them within two minutes; adjust-usage corrects what it charged",
    )
