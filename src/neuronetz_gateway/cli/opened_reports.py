"""What the commands that read the audit log work with, open for as long as one of them runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from neuronetz_gateway.db.opening import reporting_of
from neuronetz_gateway.services.audit_reading import AuditReader
from neuronetz_gateway.services.reconciliation import Reconciliation
from neuronetz_gateway.settings import Settings


@asynccontextmanager
async def audit_reader(settings: Settings) -> AsyncIterator[AuditReader]:
    """The rows as they were written."""
    yield AuditReader(reporting_of(settings))


@asynccontextmanager
async def reconciliation(settings: Settings) -> AsyncIterator[Reconciliation]:
    """Budgets and rows side by side."""
    yield Reconciliation(reporting_of(settings))
