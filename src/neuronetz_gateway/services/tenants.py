"""Making tenants, changing what they may do."""

import re
from collections.abc import Callable
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.limit import LimitChanges, Limits
from neuronetz_gateway.domain.tenant import Tenant, TenantStatus
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.repositories.revocations import RevocationAction
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


class TenantRegistry:
    """Every method raises NotFoundError for an unknown name, UnavailableError while Postgres is away.

    defaults are the limits of a new tenant that names none of its own.
    """

    def __init__(
        self, database: Database, *, defaults: Limits, now: Callable[[], datetime], new_id: Callable[[], UUID]
    ) -> None:
        self._database = database
        self._defaults = defaults
        self._now = now
        self._new_id = new_id

    async def create(
        self,
        name: str,
        *,
        allow_all_models: bool = False,
        models: frozenset[str] = frozenset(),
        limits: Limits | None = None,
        time_zone: str = "UTC",
    ) -> Tenant:
        """A new tenant without a budget; models are canonical names.

        Raises InvalidRequestError for a name or zone that cannot be, ConflictError where the name is taken.
        """
        _check_name(name)
        _check_time_zone(time_zone)
        async with unit_of_work(self._database) as uow:
            return await uow.tenants.add(
                self._new_id(),
                name,
                created_at=self._now(),
                time_zone=time_zone,
                allow_all_models=allow_all_models,
                allowed_models=models,
                limits=self._defaults if limits is None else limits,
            )

    async def list(self) -> list[Tenant]:
        """All tenants by name."""
        async with unit_of_work(self._database) as uow:
            return await uow.tenants.list()

    async def get(self, name: str) -> Tenant:
        async with unit_of_work(self._database) as uow:
            return await uow.tenants.get_by_name(name)

    async def suspend(self, name: str, *, actor: str, reason: str) -> Tenant:
        """Refuses the tenant from the next request on; a tenant that is suspended already stays as it is."""
        return await self._set_status(name, TenantStatus.SUSPENDED, RevocationAction.SUSPENDED, actor, reason)

    async def resume(self, name: str, *, actor: str, reason: str) -> Tenant:
        """Lets a suspended tenant in again; an active one stays as it is."""
        return await self._set_status(name, TenantStatus.ACTIVE, RevocationAction.RESUMED, actor, reason)

    async def set_limits(self, name: str, changes: LimitChanges) -> Tenant:
        """Changes the named limits (rpm, tpm, concurrent, output_cap), leaves the others; None takes one away."""
        async with unit_of_work(self._database) as uow:
            tenant = await uow.tenants.get_by_name(name)
            return await uow.tenants.set_limits(tenant.id, changes)

    async def set_models(
        self, name: str, *, allow_all: bool | None = None, models: frozenset[str] | None = None
    ) -> Tenant:
        """Changes whether all models are allowed or which (canonical names); None leaves either as it is."""
        async with unit_of_work(self._database) as uow:
            tenant = await uow.tenants.get_by_name(name)
            return await uow.tenants.set_models(tenant.id, allow_all=allow_all, models=models)

    async def _set_status(
        self, name: str, status: TenantStatus, action: RevocationAction, actor: str, reason: str
    ) -> Tenant:
        async with unit_of_work(self._database) as uow:
            tenant = await uow.tenants.get_by_name(name)
            if tenant.status is status:
                return tenant
            await self._write_down(uow, tenant, action, actor, reason)
            return await uow.tenants.set_status(tenant.id, status)

    async def _write_down(
        self, uow: UnitOfWork, tenant: Tenant, action: RevocationAction, actor: str, reason: str
    ) -> None:
        await uow.revocations.add(
            tenant.id, self._new_id(), api_key_id=None, action=action, actor=actor, reason=reason, at=self._now()
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            "A tenant's name has 1 to 64 characters of a-z, 0-9, dot, dash and underscore, the first a letter or "
            "digit, for example acme or acme-prod.",
            field="name",
        )


def _check_time_zone(time_zone: str) -> None:
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequestError(
            "The time zone is not known; it takes an IANA name such as UTC, Europe/Berlin or America/New_York.",
            field="time_zone",
        ) from None
