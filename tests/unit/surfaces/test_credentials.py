"""A request has one credential, with one meaning, or none."""

import pytest

from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.credentials import bearer

AUTHORIZATION = b"authorization"


@pytest.mark.promise("A2")
@pytest.mark.parametrize(
    ("values", "credential"),
    [
        ([], None),
        ([b""], None),
        ([b"Bearer nz_a"], "nz_a"),
        ([b"bearer nz_a"], "nz_a"),
        ([b"BEARER   nz_a  "], "nz_a"),
        ([b" Bearer nz_a"], "nz_a"),
        ([b"Bearer nz_a", b"bearer nz_a"], "nz_a"),
        ([b"Bearer"], None),
        ([b"Bearer "], None),
        ([b"nz_a"], None),
        ([b"Basic dTpw"], None),
        ([b"Bearernz_a"], None),
        ([b"Bearer\tnz_a"], None),
        ([b"Bearer nz_a, Bearer nz_b"], "nz_a, Bearer nz_b"),  # no key has this shape: 401
        ([b"Bearer \xff"], "\xff"),
    ],
)
def test_a_credential_has_one_meaning(values: list[bytes], credential: str | None) -> None:
    assert bearer([(b"host", b"x"), *((AUTHORIZATION, value) for value in values)]) == credential


@pytest.mark.promise("A2")
@pytest.mark.parametrize(
    "values", [[b"Bearer a", b"Bearer b"], [b"Bearer a", b"Basic a"], [b"Bearer a", b""], [b"Bearer a", b"Bearer A"]]
)
def test_two_different_credentials_are_refused_without_showing_them(values: list[bytes]) -> None:
    with pytest.raises(InvalidRequestError, match="two different credentials; send one"):
        bearer([(AUTHORIZATION, value) for value in values])
