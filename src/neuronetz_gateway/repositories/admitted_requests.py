"""The requests of a tenant that were admitted lately, for rate limits that have to be rebuilt."""

from datetime import datetime
from uuid import UUID

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.domain.rate_history import Bucket, OpenRequest, RateHistory
from neuronetz_gateway.errors import UnavailableError


class AdmittedRequests:
    """Asks Postgres on a session of its own, one tenant after another; while Postgres is away it says so at once."""

    def __init__(self, database: Database) -> None:
        self._link = database.link("rates")
        self._breaker = database.breaker("rates")

    def check(self) -> None:
        """Returns where it is worth asking; else raises UnavailableError, at once."""
        self._breaker.check()

    def suspect(self) -> None:
        """Tells that an answer took too long."""
        self._breaker.suspect()

    async def fence_off(self, tenant_id: UUID, *, since: datetime) -> tuple[int, RateHistory] | None:
        """Makes every principal of a tenant stale, tells what it was admitted for at or after `since`.

        What is told is complete: reservations under way are waited for, and what was admitted with an earlier principal
        can no longer be reserved. Its new version comes with it; None where there is no such tenant.
        Raises UnavailableError.
        """
        try:
            with self._breaker.attempt(may_take_long=True):  # since it waits
                rows = await self._link.fetch("select * from admitted_r1($1, $2)", tenant_id, since)
        except (BatchDataError, NotCommittedError, UnknownOutcomeError) as error:
            raise UnavailableError("The database is not available.") from error
        if not rows:
            return None
        (version, *_), *found = rows
        history = RateHistory(
            buckets=tuple(Bucket(*row[2:]) for row in found if row["id"] is None),
            open_requests=tuple(
                OpenRequest(row["id"], row["api_key_id"], row["second"], row["tokens"]) for row in found if row["id"]
            ),
        )
        return version, history
