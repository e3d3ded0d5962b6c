"""The command that shows what was used, held against what may be used."""

from typing import Annotated

import typer

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
from neuronetz_gateway.cli.usage_days import MOST_DAYS, SHOWN_DAYS, asked_days, csv_text, period_record, print_period
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.services.management import Management
from neuronetz_gateway.services.usage import ModelTotals, UsageOverview


def show_usage(
    tenant: TenantScope = None,
    key: KeyScope = None,
    days: Annotated[
        int, typer.Option("--days", min=1, max=MOST_DAYS, metavar="N", help="So many days, the last one included.")
    ] = SHOWN_DAYS,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", show_default=False, help="From this day on, in the tenant's time zone."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY", show_default=False, help="Up to this day, itself included; else today."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one line a day and model, for spreadsheets.")] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Show limits, budgets (how full, when they start anew) and the usage by model, day, key; of a tenant or a key.

    Days reach back as far as the audit log does (AUDIT_RETENTION_DAYS). Without --from and --to: the last 14 days.
    """
    scope = scope_of(tenant, key)
    asked = asked_days(days, first, last)
    if as_csv and as_json:
        raise InvalidRequestError("Give --csv or --json, one of them.")

    async def work(managed: Management) -> UsageOverview:
        if isinstance(scope, OfTenant):
            return await managed.usage.of_tenant(scope.name, asked)
        return await managed.usage.of_key(scope.prefix, asked)

    overview = run(management, work, env_file)
    if as_json:
        output.document(usage_record(overview))
    elif as_csv:
        print(csv_text(overview), end="", flush=True)
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
        "period": None if overview.period is None else period_record(overview.period),
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
    if overview.period is not None:
        print_period(overview.period)


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
