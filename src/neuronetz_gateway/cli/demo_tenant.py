"""Sees to it that a quickstart has its tenant with one key."""

import contextlib
from dataclasses import dataclass

from neuronetz_gateway.cli.invocation import command_line
from neuronetz_gateway.cli.quickstart_files import QuickstartFiles
from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.errors import UpstreamUnreachableError
from neuronetz_gateway.services.management import Management
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.probing import installed_models

DEMO_TENANT = "demo"
_LOST = "The key of the tenant demo is not known here any more (its file is lost)."
_DEAD = "The pepper was lost, so every earlier key is dead."
_REVOKED = "The key of the tenant demo has been revoked."


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo tenant's key where it is known, a model to try, a remark where something wants to be said."""

    key: PlainKey | None
    model: str | None
    remark: str | None = None


async def prepared(managed: Management, upstream: Upstream, files: QuickstartFiles, *, keys_are_dead: bool) -> Demo:
    """The tenant demo with its key, made where they are missing; a second key is never made."""
    model = await _model_to_try(upstream)
    names = {tenant.name for tenant in await managed.tenants.list()}
    if DEMO_TENANT not in names:
        await managed.tenants.create(DEMO_TENANT, allow_all_models=True)
    issued = await managed.api_keys.list(DEMO_TENANT)
    if not issued:
        made = await managed.api_keys.issue(DEMO_TENANT, "quickstart")
        files.keep_key(made.plain)
        return Demo(made.plain, model)
    if keys_are_dead:
        return _without_key(model, _DEAD, files)
    kept = files.key()
    if kept is None:
        return _without_key(model, _LOST, files)
    alive = any(key.prefix == kept.prefix and key.revoked_at is None for key in issued)
    return Demo(kept, model) if alive else _without_key(model, _REVOKED, files)


def _without_key(model: str | None, reason: str, files: QuickstartFiles) -> Demo:
    another = command_line("create-key", "--tenant", DEMO_TENANT, "--name", "another", env_file=files.env_file)
    return Demo(None, model, f"{reason} To make a new one:  {another}")


async def _model_to_try(upstream: Upstream) -> str | None:
    """A model that answers, embedding models last, as the snippets need one."""
    models: list[str] = []
    with contextlib.suppress(UpstreamUnreachableError):  # then /readyz says it; the snippets name a placeholder
        models = await installed_models(upstream)
    return min(models, key=lambda name: ("embed" in name, models.index(name)), default=None)
