"""The commands about models."""

from typing import Annotated, Any

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, EnvFile, KeyScope, Models, TenantScope
from neuronetz_gateway.cli.records import models_words
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.cli.scope import OfTenant, Scope, scope_of
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.tenant import Tenant
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.services.management import Management

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

    async def work(managed: Management) -> dict[str, Any]:
        if isinstance(scope, OfTenant):
            changed = await managed.tenants.set_models(
                scope.name, allow_all=False if listed is not None else allow_all, models=listed
            )
            return _tenant_record(changed)
        return _key_record(await _changed_key(managed, scope.prefix, listed, allow_all, may_load))

    record = run(management, work, env_file)
    if as_json:
        output.document(record)
        return
    kind = "tenant" if isinstance(scope, OfTenant) else "key"
    inherits = kind == "key" and record["models"] is None
    words = "as its tenant" if inherits else models_words(record["models"], allow_all=record["allow_all_models"])
    loading = "; it may load and unload them" if record.get("may_load_models") else ""
    output.line(f"Models of {kind} {record[kind]}: {words}{loading}.")


def _check_options(scope: Scope, models: str | None, allow_all: bool | None, may_load: bool | None) -> None:
    if (models is None) == (allow_all is None) and (may_load is None or models is not None):
        raise InvalidRequestError(
            "Say which models: --models A,B or --allow-all or --no-allow-all, one of them; of a key also "
            "--may-load-models or --may-not-load-models."
        )
    if may_load is not None and isinstance(scope, OfTenant):
        raise InvalidRequestError("A tenant has no say in loading; give --may-load-models to a key: --key PREFIX.")


async def _changed_key(
    managed: Management, prefix: str, listed: frozenset[str] | None, allow_all: bool | None, may_load: bool | None
) -> ApiKey:
    """The key once all that was asked for is done; without a list or allow_all its models stay as they are."""
    models_stay = listed is None and allow_all is None
    if listed is None and allow_all is False:
        before = (await managed.usage.of_key(prefix)).key
        listed = before.allowed_models if before is not None and before.allowed_models else frozenset()
    if may_load is None:
        return await managed.api_keys.set_models(prefix, listed)
    if not models_stay:
        await managed.api_keys.set_models(prefix, listed)
    return await managed.api_keys.set_loading(prefix, allowed=may_load)


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
