"""The commands about tenants."""

from pathlib import Path
from typing import Annotated

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.invocation import command_line
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, EnvFile, Models
from neuronetz_gateway.cli.records import limit_cells, limits_words, models_words, tenant_record
from neuronetz_gateway.cli.runtime import actor, run
from neuronetz_gateway.domain.tenant import Tenant, TenantStatus
from neuronetz_gateway.services.management import Management

Name = Annotated[
    str, typer.Option("--name", metavar="NAME", help="The name: a-z, 0-9, dot, dash, underscore; 64 at most.")
]


def create_tenant(
    name: Name,
    allow_all_models: Annotated[
        bool, typer.Option("--allow-all-models", help="Every model of the model server may be used.")
    ] = False,
    models: Models = None,
    time_zone: Annotated[
        str, typer.Option("--time-zone", metavar="ZONE", help="Where the tenant's days begin (IANA name).")
    ] = "UTC",
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Make a tenant, with the default limits, no budget, no models unless they are given."""
    allowed = parsing.models(models or "")

    async def work(managed: Management) -> Tenant:
        return await managed.tenants.create(
            name, allow_all_models=allow_all_models, models=allowed, time_zone=time_zone
        )

    tenant = run(management, work, env_file)
    if as_json:
        output.document(tenant_record(tenant))
        return
    output.facts(
        (
            ("tenant", tenant.name),
            ("models", models_words(tenant.allowed_models, allow_all=tenant.allow_all_models)),
            ("limits", limits_words(tenant.limits, "none: unlimited")),
            ("budget", "none: unlimited tokens"),
            ("time zone", tenant.time_zone),
        )
    )
    for hint in _following(tenant, env_file):
        output.remark(hint)


def list_tenants(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """List every tenant with its limits and models."""

    async def work(managed: Management) -> list[Tenant]:
        return list(await managed.tenants.list())

    found = run(management, work, env_file)
    if as_json:
        output.document({"tenants": [tenant_record(tenant) for tenant in found]})
        return
    if not found:
        again = command_line("create-tenant", "--name", "NAME", "--allow-all-models", env_file=env_file)
        output.remark(f"There is no tenant yet. To make one:  {again}")
        return
    output.table(
        ("TENANT", "STATUS", "MODELS", ">RPM", ">TPM", ">AT ONCE", "TIME ZONE", "CREATED"),
        (
            (
                tenant.name,
                tenant.status.value,
                models_words(tenant.allowed_models, allow_all=tenant.allow_all_models),
                *limit_cells(tenant.limits),
                tenant.time_zone,
                output.day(tenant.created_at),
            )
            for tenant in found
        ),
    )


def suspend_tenant(
    name: Annotated[str, typer.Option("--name", "--tenant", metavar="NAME", help="The tenant.")],
    resume: Annotated[bool, typer.Option("--resume", help="Let the tenant in again.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept beside who did it.")] = "",
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Refuse every request of a tenant from the next one on, or let it in again."""
    why = parsing.remark("--reason", reason)

    async def work(managed: Management) -> Tenant:
        change = managed.tenants.resume if resume else managed.tenants.suspend
        return await change(name, actor=actor(), reason=why)

    tenant = run(management, work, env_file)
    if as_json:
        output.document(tenant_record(tenant))
    elif tenant.status is TenantStatus.SUSPENDED:
        output.line(f"Tenant {tenant.name} is suspended: every request of its keys is refused from now on.")
    else:
        output.line(f"Tenant {tenant.name} is active: its keys work from now on.")


def _following(tenant: Tenant, env_file: Path | None) -> list[str]:
    """What to do next, as commands to paste."""

    def command(name: str, *words: str) -> str:
        return command_line(name, "--tenant", tenant.name, *words, env_file=env_file)

    hints = [f"No budget means unlimited tokens. To bound them:  {command('set-budget', '--daily', '1000000')}"]
    if not tenant.allow_all_models and not tenant.allowed_models:
        hints.append(f"It may use no model yet:  {command('set-models', '--allow-all')}")
    hints.append(f"Next, a key:  {command('create-key', '--name', 'first')}")
    return hints
