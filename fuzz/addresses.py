"""Target: a caller's address is a plain one, a network holds what it says, whatever was written."""

from ipaddress import ip_address, ip_network

from starlette.types import Scope

from fuzz.target import Target, must
from neuronetz_gateway.domain.network import admits, canonical_networks
from neuronetz_gateway.http.address import caller_address
from neuronetz_gateway.services.failure_counting import address_scope

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("fe80::/10"))
PEERS = ("10.0.0.1", "203.0.113.9", "::ffff:10.0.0.1", "fd00::1", "fe80::1%eth0", "2001:db8::1", "")
_LONGEST = 39  # ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff


def is_told_plainly(peer: str, forwarded: list[bytes]) -> None:
    scope: Scope = {"client": (peer, 1), "headers": [(b"x-forwarded-for", value) for value in forwarded]}
    address = caller_address(scope, TRUSTED)
    must(caller_address(scope, ()) == peer, "believed although nobody is trusted")
    if address == peer:
        return
    must("%" not in address and str(ip_address(address)) == address, "no plain address:", address)
    must(not any(ip_address(address) in each for each in TRUSTED), "a proxy is taken for a caller:", address)
    must(peer not in {"203.0.113.9", "2001:db8::1", ""}, "a peer that nobody trusts is believed:", peer)
    stands_for_its_neighbours(address)


def stands_for_its_neighbours(address: str) -> None:
    scope = address_scope(address)
    must(address_scope(scope) == scope, "a scope has another scope:", scope)
    if ":" not in address:
        must(scope == address, "an IPv4 address counts under another")


def holds_what_it_says(texts: list[str], address: str) -> None:
    try:
        networks = canonical_networks(texts)
    except ValueError:
        return
    must(canonical_networks(networks) == networks, "not canonical:", networks)
    must(all(len(text) <= _LONGEST + 4 and text.isascii() for text in networks), "no plain network:", networks)
    for text in networks:
        must(admits(networks, str(ip_network(text).network_address)), "its own address is refused:", text)
    if admits(networks, address):
        plain = ip_address(address)
        plain = getattr(plain, "ipv4_mapped", None) or plain
        must(any(plain in ip_network(text) for text in networks), "admitted although outside:", address)


def check(data: bytes) -> None:
    peer = PEERS[data[0] % len(PEERS)] if data else ""
    lines = data[1:].split(b"\n")
    is_told_plainly(peer, lines)
    texts = [line.decode("latin-1") for line in lines]
    for text in texts:
        address_scope(text)
    holds_what_it_says(texts[1:], texts[0])


def _seeds() -> list[bytes]:
    lines = (
        b"198.51.100.1", b"evil, 198.51.100.1", b"1.2.3.4, 198.51.100.1, 10.0.0.2", b"2001:db8::1%eth0",
        b"::ffff:1.2.3.4", b"fe80::1%x\nfe80::1%x/128",
        b"10.1.2.3\n10.0.0.0/8\n1.2.3.4", b"::1\n::/0", b"::ffff:10.0.0.1\n::ffff:10.0.0.0/104",
        b"1.2.3.4:80", b"[2001:db8::1]:80", b"1.2.3", b"01.2.3.4", b"1.2.3.4\n1.2.3.4/255.255.255.0", b"for=1.2.3.4",
    )  # fmt: skip
    return [bytes([kind]) + line for kind in range(len(PEERS)) for line in lines]


TARGET = Target(check, _seeds, (b", ", b"%", b"::", b"/", b"::ffff:", b"198.51.100.1", b"10.0.0.1", b"/128", b"\n"))
