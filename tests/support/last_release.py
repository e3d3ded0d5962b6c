"""What processes of the release before revision 0003 ask of Postgres."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from neuronetz_gateway.domain.audit import Settlement
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.repositories.ledger import Ledger
from tests.support.ledgers import World
from tests.support.other_processes import WINDOW


async def reserve(world: World, caller: Principal, process_id: UUID) -> UUID:
    """Reserves 150 tokens; the id of the request."""
    asked = uuid7()
    await world.sql(
        "select * from reserve_r1($1)",
        [(asked, process_id, caller.tenant_id, caller.tenant_version, caller.api_key_id, caller.key_version, WINDOW,
          WINDOW, 100, 50, "m", "/e", "r", "a", "u", datetime.now(UTC))],
    )  # fmt: skip
    return asked


async def refuse(world: World, caller: Principal, refused: UUID, status: int, at: datetime) -> None:
    """Writes a refusal down under this id."""
    await world.sql(
        "select refuse_r1($1)",
        [(refused, caller.tenant_id, caller.api_key_id, "/e", "m", "r", "a", "u", status, "unavailable", at)],
    )


class LastReleaseLedger(Ledger):
    """Settles as that release does."""

    async def settle(self, batch: Sequence[Settlement]) -> list[bool]:
        rows = [
            (each.reservation_id, each.outcome, each.status, each.charge.prompt_tokens, each.charge.output_tokens,
             each.charge.total_tokens, each.charge.estimated, 20, 500) for each in batch
        ]  # fmt: skip
        answer = await self._settling.fetch("select settle_r1($1)", rows)
        found = set(answer[0][0])
        return [each.reservation_id in found for each in batch]
