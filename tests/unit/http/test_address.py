"""Which address a request is counted under."""

from ipaddress import ip_network

import pytest

from neuronetz_gateway.http.address import UNKNOWN, caller_address

PROXY = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def scope(peer: str | None, *forwarded: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (peer, 1234) if peer else None, "headers": headers}


@pytest.mark.promise("N4")
@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["evil, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        (None, ["198.51.100.1"], UNKNOWN),
    ],
)
def test_only_a_trusted_proxy_is_believed(peer: str | None, forwarded: list[str], expected: str) -> None:
    assert caller_address(scope(peer, *forwarded), PROXY) == expected


def test_without_trusted_proxies_the_peer_is_the_caller() -> None:
    assert caller_address(scope("10.0.0.1", "198.51.100.1"), ()) == "10.0.0.1"
