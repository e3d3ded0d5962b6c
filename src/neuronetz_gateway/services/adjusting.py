"""Correcting what was used, where recovery had to charge more than was."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.audit import NO_REQUESTS, Outcome
from neuronetz_gateway.domain.budget import BudgetUsage, Windows, windows_at
from neuronetz_gateway.domain.tenant import Tenant
from neuronetz_gateway.errors import InvalidRequestError, NotFoundError
from neuronetz_gateway.repositories.adjustments import Adjustment, ChargedRow
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work

_UNCHARGED = NO_REQUESTS | {Outcome.REFUSED}


@dataclass(frozen=True, slots=True)
class AdjustmentAsk:
    """A correction as an operator names it: by a tenant, by a key (a prefix), or by the request (the id of its row)."""

    tokens: int
    reason: str
    actor: str
    tenant: str | None = None
    key: str | None = None
    request: UUID | None = None


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A correction that was made, under the id of its audit row; windows are as they stand after it."""

    id: UUID
    tenant: Tenant
    key: ApiKey | None
    tokens: int
    windows: tuple[BudgetUsage, ...]


@dataclass(frozen=True, slots=True)
class _Scope:
    tenant: Tenant
    key: ApiKey | None
    windows: Windows
    row: ChargedRow | None


class UsageAdjuster:
    """Each correction is one transaction with one audit row, in a chain of its own."""

    def __init__(self, database: Database, *, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._database = database
        self._now = now
        self._new_id = new_id

    async def adjust(self, ask: AdjustmentAsk) -> Adjusted:
        """Counts `tokens` more (fewer below 0): in the windows of the request that is named, else in the current ones.

        Raises InvalidRequestError where a window, or what the request was charged, would fall below nothing;
        NotFoundError for an unknown name; UnavailableError while Postgres is away, when it may or may not be done.
        """
        if ask.tokens == 0:
            raise InvalidRequestError("A correction of 0 tokens corrects nothing.")
        async with unit_of_work(self._database) as uow:
            scope = await self._scope(uow, ask)
            adjustment = Adjustment(
                id=self._new_id(),
                api_key_id=None if scope.key is None else scope.key.id,
                tokens=ask.tokens,
                windows=scope.windows,
                about="" if scope.row is None else str(scope.row.id),
                model="" if scope.row is None else scope.row.model,
                reason=ask.reason,
                actor=ask.actor,
                at=self._now(),
            )
            short = await uow.adjustments.add(scope.tenant.id, adjustment, writer=self._new_id())
            usage = await _usage(uow, scope)
            if short is not None:
                raise _below_nothing(short, usage, ask.tokens)
            if scope.row is not None:
                await _check_row(uow, scope.tenant.id, scope.row, ask.tokens)
            return Adjusted(adjustment.id, scope.tenant, scope.key, ask.tokens, tuple(usage))

    async def _scope(self, uow: UnitOfWork, ask: AdjustmentAsk) -> _Scope:
        tenant = None if ask.tenant is None else await uow.tenants.get_by_name(ask.tenant)
        key = None if ask.key is None else await uow.api_keys.get_by_prefix(ask.key)
        if ask.request is not None:
            return await _scope_of_row(uow, ask.request, tenant, key)
        if key is not None:
            tenant = await uow.tenants.get(key.tenant_id)
        if tenant is None:
            raise InvalidRequestError("A correction is of a tenant, of a key or of a request.")
        return _Scope(tenant, key, windows_at(self._now(), tenant.time_zone), None)


async def _scope_of_row(uow: UnitOfWork, row_id: UUID, tenant: Tenant | None, key: ApiKey | None) -> _Scope:
    row = await uow.adjustments.find_row(row_id)
    if row is None:
        raise NotFoundError(f"The audit log has no row {row_id}.")
    if row.tenant_id is None or row.outcome in _UNCHARGED:
        raise InvalidRequestError(f"Row {row_id} ({row.outcome}) charged nothing that could be corrected.")
    if (tenant is not None and tenant.id != row.tenant_id) or (key is not None and key.id != row.api_key_id):
        raise InvalidRequestError(f"Row {row_id} is of another {'key' if tenant is None else 'tenant'}.")
    owner = await uow.tenants.get(row.tenant_id)
    # Without windows it is of before revision 0003, which named none.
    windows = row.windows or windows_at(row.admitted_at, owner.time_zone)
    api_key = None if row.api_key_id is None else await uow.api_keys.get(owner.id, row.api_key_id)
    return _Scope(owner, api_key, windows, row)


async def _usage(uow: UnitOfWork, scope: _Scope) -> list[BudgetUsage]:
    usage = await uow.budget_usage.current(scope.tenant.id, "tenant", scope.tenant.id, scope.windows)
    if scope.key is not None:
        usage += await uow.budget_usage.current(scope.tenant.id, "key", scope.key.id, scope.windows)
    return usage


async def _check_row(uow: UnitOfWork, tenant_id: UUID, row: ChargedRow, tokens: int) -> None:
    """The windows are locked by now, so that no other correction of the same request comes between."""
    left = row.charged_tokens + await uow.adjustments.corrected(tenant_id, row.id)
    if left < 0:
        raise InvalidRequestError(
            f"Request {row.id} stands at {left - tokens:,} tokens, so no more than that can be given back."
        )


def _below_nothing(short: str, usage: list[BudgetUsage], tokens: int) -> InvalidRequestError:
    [window] = [each for each in usage if f"{each.scope}.{each.period}" == short]
    start = "" if window.window_end is None else f" since {window.window_start:%Y-%m-%d %H:%M} UTC"
    return InvalidRequestError(
        f"{short} has {window.used_tokens:,} tokens used{start}: {tokens:,} would take it below nothing."
    )
