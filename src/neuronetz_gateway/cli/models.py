"""The commands about models."""

from typing import Annotated, Any

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.options import AsJson, EnvFile, KeyScope, Models, TenantScope
from neuronetz_gateway.cli.records import models_words
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.cli.scope import OfTenant, Scope, scope_if_any, scope_of
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.domain.principal import effective_models
from neuronetz_gateway.domain.tenant import Tenant
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.upstream.probing import installed_models
from neuronetz_gateway.wiring import Services

AllowAll = Annotated[
    bool | None,
    typer.Option(
        "--allow-all/--no-allow-all",
        show_default=False,
        help="Tenant: every model of the model server, or only those listed. Key: whatever its tenant may use, or only "
        "those listed.",
    ),
]

MayLoad = Annotated[
    bool | None,
    typer.Option(
        "--may-load-models/--may-not-load-models",
        show_default=False,
        help="Key: whether an empty prompt loads a model or, with keep_alive 0, unloads it, for all tenants.",
    ),
]


def set_models(
    tenant: TenantScope = None,
    key: KeyScope = None,
    models: Models = None,
    allow_all: AllowAll = None,
    may_load: MayLoad = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Say which models a tenant or a key may use, from the next request on; a key only narrows its tenant's.

    --models A,B allows these alone (an empty list allows none); --allow-all allows all. --may-load-models lets a key
    load and unload what it may use; it may be given alone.
    """
    scope = scope_of(tenant, key)
    _check_options(scope, models, allow_all, may_load)
    listed = None if models is None else parsing.models(models)

    async def work(services: Services) -> dict[str, Any]:
        if isinstance(scope, OfTenant):
            changed = await services.tenants.set_models(
                scope.name, allow_all=False if listed is not None else allow_all, models=listed
            )
            return _tenant_record(changed)
        return _key_record(await _changed_key(services, scope.prefix, listed, allow_all, may_load))

    record = run(work, env_file)
    if as_json:
        output.document(record)
        return
    kind = "tenant" if isinstance(scope, OfTenant) else "key"
    inherits = kind == "key" and record["models"] is None
    words = "as its tenant" if inherits else models_words(record["models"], allow_all=record["allow_all_models"])
    loading = "; it may load and unload them" if record.get("may_load_models") else ""
    output.line(f"Models of {kind} {record[kind]}: {words}{loading}.")


def list_models(
    tenant: TenantScope = None, key: KeyScope = None, as_json: AsJson = False, env_file: EnvFile = None
) -> None:
    """List the models that the model server has; with --tenant or --key also which of them may be used."""
    scope = scope_if_any(tenant, key)

    async def work(services: Services) -> list[dict[str, Any]]:
        allowance = None if scope is None else await _allowance(services, scope)
        return _listed(await installed_models(services.upstream), allowance)

    found = run(work, env_file)
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


def _check_options(scope: Scope, models: str | None, allow_all: bool | None, may_load: bool | None) -> None:
    if (models is None) == (allow_all is None) and (may_load is None or models is not None):
        raise InvalidRequestError(
            "Say which models: --models A,B or --allow-all or --no-allow-all, one of them; of a key also "
            "--may-load-models or --may-not-load-models."
        )
    if may_load is not None and isinstance(scope, OfTenant):
        raise InvalidRequestError("A tenant has no say in loading; give --may-load-models to a key: --key PREFIX.")


async def _changed_key(
    services: Services, prefix: str, listed: frozenset[str] | None, allow_all: bool | None, may_load: bool | None
) -> ApiKey:
    """The key once all that was asked for is done; without a list or allow_all its models stay as they are."""
    models_stay = listed is None and allow_all is None
    if listed is None and allow_all is False:
        before = (await services.usage.of_key(prefix)).key
        listed = before.allowed_models if before is not None and before.allowed_models else frozenset()
    if may_load is None:
        return await services.api_keys.set_models(prefix, listed)
    if not models_stay:
        await services.api_keys.set_models(prefix, listed)
    return await services.api_keys.set_loading(prefix, allowed=may_load)


def _tenant_record(tenant: Tenant) -> dict[str, Any]:
    return {
        "tenant": tenant.name,
        "allow_all_models": tenant.allow_all_models,
        "models": sorted(tenant.allowed_models),
    }


def _key_record(key: ApiKey) -> dict[str, Any]:
    """A key's models are null where it inherits its tenant's."""
    models = None if key.allowed_models is None else sorted(key.allowed_models)
    return {
        "key": key.prefix,
        "allow_all_models": False,
        "models": models,
        "may_load_models": key.may_load_models,
    }


async def _allowance(services: Services, scope: Scope) -> tuple[bool, frozenset[str]]:
    """Whether all models are allowed, else which."""
    if isinstance(scope, OfTenant):
        tenant = await services.tenants.get(scope.name)
        return tenant.allow_all_models, tenant.allowed_models
    overview = await services.usage.of_key(scope.prefix)
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
