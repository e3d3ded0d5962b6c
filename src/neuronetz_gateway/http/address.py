"""Where a request really comes from."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

type Address = IPv4Address | IPv6Address
type Networks = tuple[IPv4Network | IPv6Network, ...]

UNKNOWN = "::"  # stands for a peer without an address, as behind a unix socket


def caller_address(scope: Scope, trusted: Networks) -> str:
    """The peer's address, or the last untrusted one of X-Forwarded-For where the peer is a trusted proxy.

    What an untrusted peer says of itself is never believed (DESIGN §3).
    """
    peer = scope.get("client")
    if not peer:
        return UNKNOWN
    if not trusted:
        return str(peer[0])
    address = _parsed(peer[0])
    if address is None or not _among(address, trusted):
        return str(peer[0])
    for hop in reversed(_forwarded(scope)):
        address = _parsed(hop)
        if address is None:
            break
        if not _among(address, trusted):
            return str(address)
    return str(peer[0])


def _forwarded(scope: Scope) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(values).split(",") if hop.strip()]


def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))  # less its zone, which may be any text
    return address


def _among(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks if network.version == address.version)
