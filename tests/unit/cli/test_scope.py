"""Whom a command is about."""

import pytest

from neuronetz_gateway.cli.scope import OfKey, OfTenant, scope_if_any, scope_of
from neuronetz_gateway.errors import InvalidRequestError

PREFIX = "nz_A1b2C3d4E"


def test_a_tenant_is_named_by_name_while_a_key_is_by_prefix() -> None:
    assert scope_of("acme", None) == OfTenant("acme")
    assert scope_of(None, PREFIX) == OfKey(PREFIX)


def test_both_at_once_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="not both"):
        scope_if_any("acme", PREFIX)


def test_none_is_refused_where_somebody_must_be_named() -> None:
    assert scope_if_any(None, None) is None
    with pytest.raises(InvalidRequestError, match="--tenant NAME or --key PREFIX"):
        scope_of(None, None)
