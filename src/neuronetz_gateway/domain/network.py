"""From where a key may be used."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

type Network = IPv4Network | IPv6Network


def canonical_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Networks as they are stored: an address alone is a network of one, the widest notation of each, none twice.

    Raises ValueError: a text is no address and no network, or has bits set beside its mask.
    """
    networks = {ip_network(text.strip()) for text in texts}
    return tuple(str(network) for network in sorted(networks, key=_order))


def admits(networks: tuple[str, ...], address: str) -> bool:
    """Whether an address is in one of them; one that cannot be read, as behind a Unix socket, is in none."""
    parsed = _address(address)
    return parsed is not None and any(
        parsed in network for network in _parsed(networks) if network.version == parsed.version
    )


@lru_cache(maxsize=4096)
def _parsed(networks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in networks)


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
