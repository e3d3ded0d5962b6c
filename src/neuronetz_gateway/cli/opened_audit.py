"""What the commands about checkpoints or prompts work with, open for as long as one of them runs."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from neuronetz_gateway.db.opening import database_of, reporting_of
from neuronetz_gateway.services.audit_building import AuditServices, audit_services
from neuronetz_gateway.services.logged_prompts import LoggedPrompts
from neuronetz_gateway.services.prompt_building import cipher_of, logged_prompts_of
from neuronetz_gateway.settings import Settings


@asynccontextmanager
async def audit_chains(settings: Settings) -> AsyncIterator[AuditServices]:
    """Checkpoints and their verifier; the upkeep is for those who serve."""
    database = database_of(settings)
    try:
        yield audit_services(
            settings, database, reporting_of(settings), jitter=secrets.SystemRandom().random, happened=_nobody_counts
        )
    finally:
        await database.aclose()


@asynccontextmanager
async def logged_prompts(settings: Settings) -> AsyncIterator[LoggedPrompts]:
    """What was kept of keys that have their prompts logged."""
    database = database_of(settings)
    try:
        yield logged_prompts_of(settings, database, cipher_of(settings))
    finally:
        await database.aclose()


def _nobody_counts(_event: str) -> None:
    """A command has no metrics."""
