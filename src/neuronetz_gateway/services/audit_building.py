"""Builds what keeps the audit log: its checkpoints, its retention, its verifier, the sums of usage."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from neuronetz_gateway.checkpoint_signing import CheckpointKeys, CheckpointSigner
from neuronetz_gateway.db.database import Database
from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.audit_checkpoints import AuditCheckpoints
from neuronetz_gateway.services.audit_retention import AuditRetention
from neuronetz_gateway.services.audit_verification import AuditVerifier
from neuronetz_gateway.services.checkpoint_sinks import sink_of
from neuronetz_gateway.services.upkeep import Chore, Upkeep
from neuronetz_gateway.services.usage_closing import UsageClosing
from neuronetz_gateway.settings import Settings

_AUDIT_DAYS_AHEAD = 7
_PROMPT_DAYS_AHEAD = 2  # past the longest time for which a prompt may be kept
_MINUTE_SECONDS = 60.0
_HOUR_SECONDS = 3600.0
# Whoever waits for the lock of a table holds up all who come behind; a statement may have a day of rows to sum up.
_LOCK_TIMEOUT_SECONDS = 0.1
_STATEMENT_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class AuditServices:
    checkpoints: AuditCheckpoints
    verifier: AuditVerifier
    upkeep: Upkeep


def audit_services(
    settings: Settings,
    database: Database,
    reporting: ReportingDatabase,
    *,
    jitter: Callable[[], float],
    happened: Callable[[str], None],
) -> AuditServices:
    """Everything of one process; connects when it has something to do."""
    checkpoints = AuditCheckpoints(
        database,
        CheckpointSigner(_bytes(settings.audit_signing_key) or _bytes(settings.key_pepper)),
        sink_of(settings.audit_checkpoint_sink, lambda: sys.stdout.buffer),
        every_seconds=settings.audit_checkpoint_s,
        happened=happened,
    )
    return AuditServices(
        checkpoints=checkpoints,
        verifier=AuditVerifier(reporting, checkpoint_keys(settings)),
        upkeep=_upkeep(settings, checkpoints, jitter=jitter, happened=happened),
    )


def checkpoint_keys(settings: Settings) -> CheckpointKeys:
    """The public keys of every secret that checkpoints may have been signed with."""
    secrets = (settings.audit_signing_key, settings.key_pepper, settings.key_pepper_previous)
    return CheckpointKeys(CheckpointSigner(_bytes(each)).public_key for each in secrets if _bytes(each))


def _upkeep(
    settings: Settings,
    checkpoints: AuditCheckpoints,
    *,
    jitter: Callable[[], float],
    happened: Callable[[str], None],
) -> Upkeep:
    making, purging, dropping, closing = (_patient(settings) for _ in range(4))
    retention = AuditRetention(dropping, checkpoints, days=settings.audit_retention_days, happened=happened)
    usage = UsageClosing(closing, happened=happened)

    async def make_partitions() -> None:
        async with unit_of_work(making) as uow:
            await uow.partitions.ensure_audit_log(_AUDIT_DAYS_AHEAD)
        if not settings.prompt_log_key.get_secret_value():  # then none can be logged
            return
        async with unit_of_work(making) as uow:
            await uow.partitions.ensure_prompt_log(settings.prompt_log_max_days + _PROMPT_DAYS_AHEAD)

    async def purge_prompts() -> None:
        async with unit_of_work(purging) as uow:
            await uow.partitions.purge_prompts()

    async def last_checkpoint() -> None:
        await checkpoints.write()
        await checkpoints.emit()

    every = settings.audit_checkpoint_s
    chores = (
        Chore("partitions", make_partitions, _HOUR_SECONDS, _MINUTE_SECONDS, making.aclose),
        Chore("prompt_purge", purge_prompts, _MINUTE_SECONDS, _MINUTE_SECONDS, purging.aclose),
        Chore("checkpoint", checkpoints.round, every, _MINUTE_SECONDS),
        Chore("usage", usage.round, _HOUR_SECONDS, _MINUTE_SECONDS, closing.aclose),
        Chore("retention", retention.round, _HOUR_SECONDS, _MINUTE_SECONDS, dropping.aclose),
    )
    last = Chore("checkpoint", last_checkpoint, every, _MINUTE_SECONDS)
    return Upkeep(chores, last=last, jitter=jitter, happened=happened)


def _patient(settings: Settings) -> Database:
    """For one chore alone, which keeps no connection between two times."""
    return Database(
        settings.database_url.get_secret_value(),
        pool_size=1,
        connect_timeout_seconds=settings.database_connect_timeout_s,
        statement_timeout_seconds=_STATEMENT_TIMEOUT_SECONDS,
        lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS,
    )


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode()
