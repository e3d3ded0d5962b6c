"""All repositories over one transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.repositories.adjustments import Adjustments
from neuronetz_gateway.repositories.api_keys import ApiKeys
from neuronetz_gateway.repositories.audit_chain import AuditChains
from neuronetz_gateway.repositories.audit_log import AuditLog
from neuronetz_gateway.repositories.audit_notes import AuditNotes
from neuronetz_gateway.repositories.budget_levels import BudgetLevels
from neuronetz_gateway.repositories.budget_usage import BudgetUsages
from neuronetz_gateway.repositories.budgets import Budgets
from neuronetz_gateway.repositories.key_limits import KeyLimits
from neuronetz_gateway.repositories.key_policies import KeyPolicies
from neuronetz_gateway.repositories.key_uses import KeyUses
from neuronetz_gateway.repositories.partitions import Partitions
from neuronetz_gateway.repositories.processes import Processes
from neuronetz_gateway.repositories.prompt_log import PromptLogs
from neuronetz_gateway.repositories.revocations import Revocations
from neuronetz_gateway.repositories.tenants import Tenants
from neuronetz_gateway.repositories.usage_sums import UsageSums


class UnitOfWork:
    """Changes that belong together; whoever opened the transaction commits them."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.tenants = Tenants(connection)
        self.api_keys = ApiKeys(connection)
        self.key_limits = KeyLimits(connection)
        self.key_policies = KeyPolicies(connection)
        self.key_uses = KeyUses(connection)
        self.budgets = Budgets(connection)
        self.budget_usage = BudgetUsages(connection)
        self.budget_levels = BudgetLevels(connection)
        self.revocations = Revocations(connection)
        self.audit_log = AuditLog(connection)
        self.audit_chains = AuditChains(connection)
        self.audit_notes = AuditNotes(connection)
        self.prompt_log = PromptLogs(connection)
        self.adjustments = Adjustments(connection)
        self.processes = Processes(connection)
        self.partitions = Partitions(connection)
        self.usage_sums = UsageSums(connection)


@asynccontextmanager
async def unit_of_work(database: Database) -> AsyncIterator[UnitOfWork]:
    """Opens a transaction; commits on leaving, rolls back on an error.

    Raises UnavailableError where Postgres is away or does not answer in time.
    """
    async with database.begin() as connection:
        yield UnitOfWork(connection)
