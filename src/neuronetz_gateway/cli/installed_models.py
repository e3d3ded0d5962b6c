"""The command that lists the models of the model server."""

from typing import Any

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.opened_upstream import WithUpstream, management_with_upstream
from neuronetz_gateway.cli.options import AsJson, EnvFile, KeyScope, TenantScope
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.cli.scope import OfTenant, Scope, scope_if_any
from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.domain.principal import effective_models
from neuronetz_gateway.services.management import Management
from neuronetz_gateway.upstream.probing import installed_models


def list_models(
    tenant: TenantScope = None, key: KeyScope = None, as_json: AsJson = False, env_file: EnvFile = None
) -> None:
    """List the models that the model server has; with --tenant or --key also which of them may be used."""
    scope = scope_if_any(tenant, key)

    async def work(opened: WithUpstream) -> list[dict[str, Any]]:
        allowance = None if scope is None else await _allowance(opened.managed, scope)
        return _listed(await installed_models(opened.upstream), allowance)

    found = run(management_with_upstream, work, env_file)
    if as_json:
        output.document({"models": found})
        return
    if not found:
        output.remark("The model server has no models yet; on its machine: ollama pull llama3.2:1b")
        return
    words = {True: "yes", False: "no", None: "-"}
    output.table(
        ("MODEL", "INSTALLED", *(() if scope is None else ("ALLOWED",))),
        ((row["name"], words[row["installed"]], *(() if scope is None else (words[row["allowed"]],))) for row in found),
    )


async def _allowance(managed: Management, scope: Scope) -> tuple[bool, frozenset[str]]:
    """Whether all models are allowed, else which."""
    if isinstance(scope, OfTenant):
        tenant = await managed.tenants.get(scope.name)
        return tenant.allow_all_models, tenant.allowed_models
    overview = await managed.usage.of_key(scope.prefix)
    return effective_models(
        tenant_allows_all=overview.tenant.allow_all_models,
        tenant_models=overview.tenant.allowed_models,
        key_models=None if overview.key is None else overview.key.allowed_models,
    )


def _listed(installed: list[str], allowance: tuple[bool, frozenset[str]] | None) -> list[dict[str, Any]]:
    """The installed models, then those that are allowed but not installed; allowed is null where nobody was named."""
    names = sorted({name for text in installed if (name := _canonical(text)) is not None})
    if allowance is None:
        return [{"name": name, "installed": True, "allowed": None} for name in names]
    allow_all, allowed = allowance
    rows = [{"name": name, "installed": True, "allowed": allow_all or name in allowed} for name in names]
    missing = () if allow_all else sorted(allowed - set(names))
    return rows + [{"name": name, "installed": False, "allowed": True} for name in missing]


def _canonical(text: str) -> str | None:
    """The canonical name of an installed model; None for one that the gateway never serves (cloud models)."""
    try:
        return canonical(text)
    except ModelNameError:
        return None
