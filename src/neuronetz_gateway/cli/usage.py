"""The command that shows what was used, held against what may be used."""

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.budget_table import print_budgets
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, EnvFile, KeyScope, TenantScope
from neuronetz_gateway.cli.records import (
    Record,
    budget_record,
    key_models_words,
    key_status,
    limits_record,
    limits_words,
    models_words,
)
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.cli.scope import OfTenant, scope_of
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.services.management import Management
from neuronetz_gateway.services.usage import ModelTotals, UsageOverview


def show_usage(
    tenant: TenantScope = None, key: KeyScope = None, as_json: AsJson = False, env_file: EnvFile = None
) -> None:
    """Show limits, budgets (how full, when they start anew) and the usage by model, of a tenant or of one key."""
    scope = scope_of(tenant, key)

    async def work(managed: Management) -> UsageOverview:
        if isinstance(scope, OfTenant):
            return await managed.usage.of_tenant(scope.name)
        return await managed.usage.of_key(scope.prefix)

    overview = run(management, work, env_file)
    if as_json:
        output.document(usage_record(overview))
    else:
        _print(overview)


def usage_record(overview: UsageOverview) -> Record:
    tenant, key = overview.tenant, overview.key
    return {
        "tenant": tenant.name,
        "key": None if key is None else key.prefix,
        "status": tenant.status.value if key is None else key_status(key, overview.at),
        "time_zone": tenant.time_zone,
        "limits": {
            "tenant": limits_record(tenant.limits),
            "key": None if key is None else limits_record(key.limits),
        },
        "budgets": [budget_record(budget) for budget in overview.budgets],
        "usage": {
            "today": [_totals_record(totals) for totals in overview.today],
            "month": [_totals_record(totals) for totals in overview.month],
        },
        "at": output.iso(overview.at),
    }


def _totals_record(totals: ModelTotals) -> Record:
    return {
        "model": totals.model,
        "requests": totals.requests,
        "prompt_tokens": totals.prompt_tokens,
        "output_tokens": totals.output_tokens,
        "charged_tokens": totals.charged_tokens,
    }


def _print(overview: UsageOverview) -> None:
    output.facts(_facts(overview))
    output.line("")
    bounded = {budget.scope for budget in overview.budgets if budget.limit_tokens is not None}
    # A scope without any budget is told in one row: what it used in all.
    print_budgets(
        [budget for budget in overview.budgets if budget.scope in bounded or budget.period is Period.TOTAL], overview.at
    )
    output.line("")
    _print_models(overview)


def _facts(overview: UsageOverview) -> list[tuple[str, str]]:
    tenant, key = overview.tenant, overview.key
    facts = [
        ("tenant", f"{tenant.name}, {tenant.status.value}, days of {tenant.time_zone}"),
        ("its limits", limits_words(tenant.limits, "none: unlimited")),
        ("its models", models_words(tenant.allowed_models, allow_all=tenant.allow_all_models)),
    ]
    if key is not None:
        facts += [
            ("key", f"{key.prefix} ({key.name}), {key_status(key, overview.at)}"),
            ("its limits", limits_words(key.limits, "none of its own")),
            ("its models", key_models_words(key)),
        ]
    return facts


def _print_models(overview: UsageOverview) -> None:
    if not overview.month:
        output.line("No request has been answered this month.")
        return
    today = {totals.model: totals for totals in overview.today}
    nothing = ModelTotals("", 0, 0, 0, 0)
    output.table(
        (
            "MODEL",
            ">REQUESTS TODAY",
            ">TOKENS TODAY",
            ">REQUESTS THIS MONTH",
            ">PROMPT",
            ">OUTPUT",
            ">TOKENS THIS MONTH",
        ),
        (
            (
                totals.model or "(no model)",
                output.count(today.get(totals.model, nothing).requests),
                output.count(today.get(totals.model, nothing).charged_tokens),
                output.count(totals.requests),
                output.count(totals.prompt_tokens),
                output.count(totals.output_tokens),
                output.count(totals.charged_tokens),
            )
            for totals in overview.month
        ),
    )
