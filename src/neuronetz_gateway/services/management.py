"""Builds what tenants, keys, budgets are managed with, without anything that serves."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.key_hashing import KeyHasher
from neuronetz_gateway.services.adjusting import UsageAdjuster
from neuronetz_gateway.services.api_keys import KeyRegistry
from neuronetz_gateway.services.budgets import BudgetRegistry
from neuronetz_gateway.services.tenants import TenantRegistry
from neuronetz_gateway.services.usage import UsageReport
from neuronetz_gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Management:
    """What the commands work with; it connects at its first use."""

    tenants: TenantRegistry
    api_keys: KeyRegistry
    budgets: BudgetRegistry
    usage: UsageReport
    adjuster: UsageAdjuster


def management_of(settings: Settings, database: Database, hasher: KeyHasher) -> Management:
    """All of it over one database, which is not closed here."""
    return Management(
        tenants=TenantRegistry(database, defaults=_default_limits(settings), now=utc_now, new_id=uuid7),
        api_keys=KeyRegistry(database, hasher, choice=secrets.choice, now=utc_now, new_id=uuid7),
        budgets=BudgetRegistry(database, now=utc_now),
        usage=UsageReport(database, now=utc_now),
        adjuster=UsageAdjuster(database, now=utc_now, new_id=uuid7),
    )


def hasher_of(settings: Settings) -> KeyHasher:
    """The hasher of the configured peppers."""
    previous = settings.key_pepper_previous.get_secret_value()
    return KeyHasher(
        settings.key_pepper.get_secret_value().encode(),
        previous.encode() if previous else None,
        memory_kib=settings.argon2_memory_kib,
        time_cost=settings.argon2_time_cost,
        parallelism=settings.argon2_parallelism,
    )


def utc_now() -> datetime:
    return datetime.now(UTC)


def _default_limits(settings: Settings) -> Limits:
    return Limits(rpm=settings.default_rpm, tpm=settings.default_tpm, concurrent=settings.default_concurrent)
