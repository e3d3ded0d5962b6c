"""A key only narrows what its tenant may do."""

from uuid import uuid4

import pytest

from neuronetz_gateway.domain.limit import Limits, smaller
from neuronetz_gateway.domain.principal import Principal, effective_models

NONE: frozenset[str] = frozenset()
A, B, AB = frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"})


@pytest.mark.parametrize(
    ("tenant_all", "tenant_models", "key_models", "expected"),
    [
        (True, NONE, None, (True, NONE)),
        (True, A, None, (True, NONE)),
        (True, NONE, A, (False, A)),
        (True, NONE, NONE, (False, NONE)),
        (False, A, None, (False, A)),
        (False, NONE, None, (False, NONE)),
        (False, AB, A, (False, A)),
        (False, A, B, (False, NONE)),
        (False, A, NONE, (False, NONE)),
        (False, NONE, A, (False, NONE)),
    ],
)
def test_model_lists_intersect_and_an_empty_one_denies(
    tenant_all: bool,
    tenant_models: frozenset[str],
    key_models: frozenset[str] | None,
    expected: tuple[bool, frozenset[str]],
) -> None:
    assert (
        effective_models(tenant_allows_all=tenant_all, tenant_models=tenant_models, key_models=key_models) == expected
    )


@pytest.mark.parametrize(("one", "other", "expected"), [(None, None, None), (1, None, 1), (None, 2, 2), (3, 2, 2)])
def test_no_bound_gives_way_to_any_bound(one: int | None, other: int | None, expected: int | None) -> None:
    assert smaller(one, other) == expected


def test_limits_narrow_on_every_axis() -> None:
    tenant, key = Limits(rpm=60, tpm=None, concurrent=4, output_cap=100), Limits(rpm=90, tpm=10, concurrent=1)
    assert tenant.narrowed_by(key) == Limits(rpm=60, tpm=10, concurrent=1, output_cap=100)


@pytest.mark.parametrize(
    ("allow_all", "model", "allowed"), [(False, "a", True), (False, "b", False), (True, "b", True)]
)
def test_a_principal_may_use_the_models_of_its_list(allow_all: bool, model: str, allowed: bool) -> None:
    principal = Principal(
        tenant_id=uuid4(),
        tenant_name="t",
        tenant_version=1,
        api_key_id=uuid4(),
        key_prefix="nz_123456789",
        key_name="k",
        key_version=1,
        tenant_limits=Limits(rpm=10),
        key_limits=Limits(rpm=5),
        allow_all_models=allow_all,
        allowed_models=A,
        time_zone="UTC",
        expires_at=None,
    )
    assert principal.allows(model) is allowed
    assert principal.limits.rpm == 5
