"""From where a key may be used."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

type Network = IPv4Network | IPv6Network

_MAPPED_BITS = 96  # of an IPv6 address before the IPv4 one in it (RFC 4291, 2.5.5.2)


def canonical_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Networks as they are stored, in order, none twice: an address alone is a network of one.

    Raises ValueError: a text is no address and no network, or has bits set beside its mask.
    """
    networks = {_network(text.strip()) for text in texts}
    return tuple(str(network) for network in sorted(networks, key=_order))


def admits(networks: tuple[str, ...], address: str) -> bool:
    """Whether an address is in one of them; one that cannot be read is in none."""
    parsed = _address(address)
    return parsed is not None and any(
        parsed in network for network in _parsed(networks) if network.version == parsed.version
    )


@lru_cache(maxsize=4096)
def _parsed(networks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(map(_network, networks))


def _network(text: str) -> Network:
    """A network of addresses of IPv4 within IPv6 (::ffff:0:0/96) is one of IPv4, as such callers are."""
    if "%" in text:
        raise ValueError("a network has no zone")  # nor has Postgres a place for one
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
