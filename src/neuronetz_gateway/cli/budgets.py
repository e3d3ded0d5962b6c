"""The command about budgets."""

from typing import Annotated

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.budget_table import print_budgets
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, EnvFile, KeyScope, TenantScope
from neuronetz_gateway.cli.records import budget_record
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.cli.scope import OfTenant, scope_of
from neuronetz_gateway.domain.budget import BudgetUsage, Period
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.services.management import Management


def _budget(period: str, help_text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(f"--{period}", metavar="N|none", show_default=False, help=help_text)
    return option


def set_budget(
    tenant: TenantScope = None,
    key: KeyScope = None,
    daily: Annotated[str | None, _budget("daily", "Tokens a day, in the tenant's time zone.")] = None,
    monthly: Annotated[str | None, _budget("monthly", "Tokens a calendar month.")] = None,
    total: Annotated[str | None, _budget("total", "Tokens in all, for ever.")] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Bound the tokens of a tenant (all its keys together) or of one key; `none` takes a bound away.

    It holds from the next request on, also where more has been used already. What is not named stays as it is.
    """
    scope = scope_of(tenant, key)
    given = parsing.bounds({"daily": daily, "monthly": monthly, "total": total}, least=0)
    if not given:
        raise InvalidRequestError(
            "Say which budget: --daily N, --monthly N, --total N, each a number of tokens or none."
        )
    changes = {Period(period): limit_tokens for period, limit_tokens in given.items()}

    async def work(managed: Management) -> list[BudgetUsage]:
        if isinstance(scope, OfTenant):
            return await managed.budgets.set_for_tenant(scope.name, changes)
        return await managed.budgets.set_for_key(scope.prefix, changes)

    budgets = run(management, work, env_file)
    if as_json:
        output.document({"budgets": [budget_record(budget) for budget in budgets]})
    else:
        print_budgets(budgets)
