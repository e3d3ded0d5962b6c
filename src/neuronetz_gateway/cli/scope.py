"""Which tenant or which key a command is about."""

from dataclasses import dataclass

from neuronetz_gateway.cli.parsing import prefix
from neuronetz_gateway.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class OfTenant:
    name: str


@dataclass(frozen=True, slots=True)
class OfKey:
    prefix: str


Scope = OfTenant | OfKey


def scope_of(tenant: str | None, key: str | None) -> Scope:
    """The one scope that --tenant or --key names; raises InvalidRequestError for both or none."""
    scope = scope_if_any(tenant, key)
    if scope is None:
        raise InvalidRequestError("Say whom this is about: --tenant NAME or --key PREFIX.")
    return scope


def scope_if_any(tenant: str | None, key: str | None) -> Scope | None:
    """The scope that --tenant or --key names, None without either; raises InvalidRequestError for both."""
    if tenant is not None and key is not None:
        raise InvalidRequestError("Give either --tenant or --key, not both: a key belongs to one tenant already.")
    if tenant is not None:
        return OfTenant(tenant)
    return None if key is None else OfKey(prefix("--key", key))
