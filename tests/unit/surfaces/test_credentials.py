"""A request has one credential, with one meaning, or none."""

import pytest

from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.anthropic import ANTHROPIC
from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.surfaces.credentials import bearer, bearer_or_api_key
from neuronetz_gateway.surfaces.surface import RawHeaders

AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"


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


@pytest.mark.promise("A2")
@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ([], None),
        ([(API_KEY, b"")], None),
        ([(API_KEY, b"nz_a")], "nz_a"),
        ([(API_KEY, b" nz_a\t")], "nz_a"),
        ([(API_KEY, b"nz_a"), (API_KEY, b"nz_a ")], "nz_a"),
        ([(API_KEY, b"Bearer nz_a")], "Bearer nz_a"),  # no key has this shape: 401
        ([(API_KEY, b"\xff")], "\xff"),
        ([(AUTHORIZATION, b"Bearer nz_a")], "nz_a"),
        ([(AUTHORIZATION, b"Basic dTpw")], None),
        ([(AUTHORIZATION, b"bearer nz_a"), (API_KEY, b"nz_a")], "nz_a"),
        ([(API_KEY, b"nz_a"), (AUTHORIZATION, b"BEARER  nz_a ")], "nz_a"),
        ([(AUTHORIZATION, b"Bearer nz_a"), (API_KEY, b"")], "nz_a"),
        ([(AUTHORIZATION, b"Bearer"), (API_KEY, b"nz_a")], "nz_a"),
        ([(AUTHORIZATION, b""), (API_KEY, b"nz_a")], "nz_a"),
    ],
)
def test_with_a_second_header_a_credential_still_has_one_meaning(headers: RawHeaders, credential: str | None) -> None:
    assert bearer_or_api_key([(b"host", b"x"), *headers]) == credential


@pytest.mark.promise("A2")
@pytest.mark.parametrize(
    "headers",
    [
        [(AUTHORIZATION, b"Bearer nz_a"), (API_KEY, b"nz_b")],
        [(AUTHORIZATION, b"Bearer nz_a"), (API_KEY, b"NZ_A")],
        [(AUTHORIZATION, b"Basic nz_a"), (API_KEY, b"nz_a")],
        [(AUTHORIZATION, b"nz_a"), (API_KEY, b"nz_a")],
        [(API_KEY, b"nz_a"), (API_KEY, b"nz_b")],
        [(API_KEY, b"nz_a"), (API_KEY, b"")],
        [(AUTHORIZATION, b"Bearer nz_a"), (AUTHORIZATION, b"Bearer nz_b"), (API_KEY, b"nz_a")],
    ],
)
def test_two_headers_that_differ_are_refused_without_showing_them(headers: RawHeaders) -> None:
    with pytest.raises(InvalidRequestError, match="two different credentials; send one"):
        bearer_or_api_key(headers)


@pytest.mark.promise("A2")
def test_only_the_anthropic_endpoint_reads_the_second_header() -> None:
    for endpoint in ENDPOINTS:
        taken = endpoint.surface.credential([(API_KEY, b"nz_a")])
        assert taken == ("nz_a" if endpoint.surface is ANTHROPIC else None), endpoint.path
        beside = [(AUTHORIZATION, b"Bearer nz_b"), (API_KEY, b"nz_a")]
        if endpoint.surface is not ANTHROPIC:
            assert endpoint.surface.credential(beside) == "nz_b"
    assert [endpoint.path for endpoint in ENDPOINTS if endpoint.surface is ANTHROPIC] == ["/v1/messages"]
