"""The values of the gateway as JSON documents with stable keys and as words for people."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from neuronetz_gateway.cli.output import count, iso
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.budget import BudgetUsage
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.tenant import Tenant

type Record = dict[str, Any]


def tenant_record(tenant: Tenant) -> Record:
    return {
        "id": str(tenant.id),
        "name": tenant.name,
        "status": tenant.status.value,
        "time_zone": tenant.time_zone,
        "allow_all_models": tenant.allow_all_models,
        "models": sorted(tenant.allowed_models),
        "limits": limits_record(tenant.limits),
        "created_at": iso(tenant.created_at),
    }


def key_record(key: ApiKey, now: datetime) -> Record:
    """A key without its secret; models is null where it inherits the tenant's, networks where it is good anywhere."""
    return {
        "id": str(key.id),
        "tenant_id": str(key.tenant_id),
        "name": key.name,
        "prefix": key.prefix,
        "status": key_status(key, now),
        "models": None if key.allowed_models is None else sorted(key.allowed_models),
        "may_load_models": key.may_load_models,
        "prompt_log_seconds": key.prompt_log_seconds,
        "limits": limits_record(key.limits),
        "networks": networks_record(key),
        "policy": policy_record(key),
        "expires_at": iso(key.expires_at),
        "revoked_at": iso(key.revoked_at),
        "last_used_at": iso(key.last_used_at),
        "created_at": iso(key.created_at),
    }


def networks_record(key: ApiKey) -> list[str] | None:
    """From where a key may be used; null is anywhere, an empty list nowhere."""
    return None if key.allowed_networks is None else list(key.allowed_networks)


def policy_record(key: ApiKey) -> Record | None:
    """What a key has of its own; null, of all or of one, is as the settings say."""
    return None if key.policy is None else asdict(key.policy)


def limits_record(limits: Limits) -> Record:
    return {"rpm": limits.rpm, "tpm": limits.tpm, "concurrent": limits.concurrent, "output_cap": limits.output_cap}


def budget_record(budget: BudgetUsage) -> Record:
    return {
        "scope": budget.scope,
        "period": budget.period.value,
        "limit_tokens": budget.limit_tokens,
        "used_tokens": budget.used_tokens,
        "reserved_tokens": budget.reserved_tokens,
        "left_tokens": budget.left_tokens,
        "window_start": iso(budget.window_start),
        "window_end": iso(budget.window_end),
    }


def key_status(key: ApiKey, now: datetime) -> str:
    """One of active, revoked, expired; a key whose revocation lies ahead (a rotation's overlap) is still active."""
    if key.revoked_at is not None and key.revoked_at <= now:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def limit_cells(limits: Limits) -> tuple[str, str, str]:
    """Limits as three cells of a table; a dash where there is none."""
    return count(limits.rpm, "-"), count(limits.tpm, "-"), count(limits.concurrent, "-")


def limits_words(limits: Limits, none: str) -> str:
    """Limits in words, such as `120 requests/min, 16 at once`; `none` where there is no limit at all."""
    parts = [
        f"{count(figure)} {unit}"
        for figure, unit in (
            (limits.rpm, "request/min" if limits.rpm == 1 else "requests/min"),
            (limits.tpm, "tokens/min"),
            (limits.concurrent, "at once"),
            (limits.output_cap, "output tokens a request"),
        )
        if figure is not None
    ]
    return ", ".join(parts) or none


def models_words(models: Iterable[str], *, allow_all: bool = False) -> str:
    return "all" if allow_all else ", ".join(sorted(models)) or "none"


def key_models_words(key: ApiKey, inherits: str = "as its tenant") -> str:
    """The models of a key in words; `inherits` where they are its tenant's."""
    words = inherits if key.allowed_models is None else models_words(key.allowed_models)
    return f"{words}; may load and unload" if key.may_load_models else words


def own_rules_words(key: ApiKey) -> str:
    """Which rules a key has of its own besides its limits; a dash where it has none."""
    rules = (("networks", key.allowed_networks), ("policy", key.policy))
    return ", ".join(name for name, own in rules if own is not None) or "-"


def networks_words(key: ApiKey) -> str:
    """From where a key may be used, in words."""
    return "anywhere" if key.allowed_networks is None else ", ".join(key.allowed_networks) or "nowhere"
