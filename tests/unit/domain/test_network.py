"""From where a key may be used: networks in one notation, addresses however they are written."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronetz_gateway.domain.network import admits, canonical_networks


@pytest.mark.parametrize(
    ("given_texts", "stored"),
    [
        (["203.0.113.7"], ("203.0.113.7/32",)),
        ([" 10.0.0.0/8 ", "10.0.0.0/255.0.0.0"], ("10.0.0.0/8",)),
        (["2001:DB8:0::/32", "10.0.0.0/8"], ("10.0.0.0/8", "2001:db8::/32")),
        (["::ffff:203.0.113.7"], ("203.0.113.7/32",)),
        (["::ffff:10.0.0.0/104"], ("10.0.0.0/8",)),
        (["::ffff:0:0/96"], ("0.0.0.0/0",)),
        (["::/0"], ("::/0",)),
        ([], ()),
    ],
)
def test_networks_are_stored_in_one_notation(given_texts: list[str], stored: tuple[str, ...]) -> None:
    assert canonical_networks(given_texts) == stored
    assert canonical_networks(stored) == stored


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.1/8", "10.0.0.0/33", "2001:db8::1/32", "localhost", "010.0.0.1", "10.0.0.0/8/8", "10", "fe80::1%eth0"],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    """fe80::1%eth0 used to pass, which Postgres refused, which was told as a database that is away."""
    with pytest.raises(ValueError, match=r"."):
        canonical_networks([text])


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("10.0.0.1", True), ("10.255.255.255", True), ("11.0.0.0", False), ("9.255.255.255", False),
        ("::ffff:10.0.0.1", True), ("::ffff:11.0.0.1", False), ("2001:db8::1", True), ("2001:db9::", False),
        ("::1", False), ("::", False), ("", False), ("unix", False), ("10.0.0.1:80", False), ("010.0.0.1", False),
    ],
)  # fmt: skip
def test_an_address_is_in_a_network_or_it_is_not(address: str, admitted: bool) -> None:
    assert admits(("10.0.0.0/8", "2001:db8::/32"), address) == admitted
    assert not admits((), address)


def test_a_network_of_mapped_addresses_admits_the_callers_that_it_names() -> None:
    """Callers over IPv4 are IPv4 whatever their socket says, so that such a network admitted nobody: neither them nor
    anybody else. SQL writes it as it likes."""
    assert admits(("::ffff:10.0.0.0/104",), "10.9.8.7")
    assert admits(("::ffff:a00:0/104",), "::ffff:10.9.8.7")
    assert not admits(("::ffff:10.0.0.0/104",), "11.0.0.1")


def test_anywhere_of_one_kind_is_nowhere_of_the_other() -> None:
    assert not admits(("::/0",), "10.0.0.1")
    assert not admits(("0.0.0.0/0",), "2001:db8::1")


def _mapped(address: IPv4Address | IPv6Address) -> bool:
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


# IPv4 within IPv6 is IPv4 here, which has its own tests above.
ADDRESSES = st.ip_addresses().filter(lambda address: not _mapped(address))


@given(ADDRESSES, st.integers(0, 128), ADDRESSES)
def test_a_network_admits_the_addresses_that_share_its_bits(
    address: IPv4Address | IPv6Address, bits: int, other: IPv4Address | IPv6Address
) -> None:
    whole = address.max_prefixlen
    bits = min(bits, whole)
    mask = ((1 << bits) - 1) << (whole - bits)
    base = type(address)(int(address) & mask)
    networks = canonical_networks([f"{base}/{bits}"])
    assert admits(networks, str(address))
    if type(other) is type(address):
        assert admits(networks, str(other)) == (int(other) & mask == int(base))
    else:
        assert not admits(networks, str(other))
