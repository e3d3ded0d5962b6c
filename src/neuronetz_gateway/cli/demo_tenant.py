"""Sees to it that a quickstart has its tenant with one key."""

import contextlib
from dataclasses import dataclass

from neuronetz_gateway.cli.quickstart_files import QuickstartFiles
from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.errors import UpstreamUnreachableError
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.probing import installed_models
from neuronetz_gateway.wiring import Services

DEMO_TENANT = "demo"
_NEW_KEY = "neuronetz-gateway create-key --tenant demo --name another --env-file {env_file}"
_LOST = f"The key of the tenant demo is not known here any more (its file is lost). Make a new one: {_NEW_KEY}"
_DEAD = f"The pepper was lost, so every earlier key is dead. Make a new one: {_NEW_KEY}"
_REVOKED = f"The key of the tenant demo has been revoked. Make a new one: {_NEW_KEY}"


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo tenant's key where it is known, a model to try, a remark where something wants to be said."""

    key: PlainKey | None
    model: str | None
    remark: str | None = None


async def prepared(services: Services, files: QuickstartFiles, *, keys_are_dead: bool) -> Demo:
    """The tenant demo with its key, made where they are missing; a second key is never made."""
    model = await _model_to_try(services.upstream)
    names = {tenant.name for tenant in await services.tenants.list()}
    if DEMO_TENANT not in names:
        await services.tenants.create(DEMO_TENANT, allow_all_models=True)
    issued = await services.api_keys.list(DEMO_TENANT)
    if not issued:
        made = await services.api_keys.issue(DEMO_TENANT, "quickstart")
        files.keep_key(made.plain)
        return Demo(made.plain, model)
    if keys_are_dead:
        return Demo(None, model, _DEAD)
    kept = files.key()
    if kept is None:
        return Demo(None, model, _LOST)
    alive = any(key.prefix == kept.prefix and key.revoked_at is None for key in issued)
    return Demo(kept, model) if alive else Demo(None, model, _REVOKED)


async def _model_to_try(upstream: Upstream) -> str | None:
    """A model that answers, embedding models last, as the snippets need one."""
    models: list[str] = []
    with contextlib.suppress(UpstreamUnreachableError):  # then /readyz says it; the snippets name a placeholder
        models = await installed_models(upstream)
    return min(models, key=lambda name: ("embed" in name, models.index(name)), default=None)
