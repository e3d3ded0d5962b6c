"""Looks whether a model server of this machine answers on addresses that others can reach."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from neuronetz_gateway.errors import UpstreamUnreachableError
from neuronetz_gateway.upstream.probing import probe

_ELSEWHERE = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))  # of documentation; nothing is sent


def is_here(base_url: str) -> bool:
    """Whether an address is of the loopback interface, as far as its text says."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def outward_addresses() -> list[str]:
    """The addresses by which this machine reaches others, none of them the loopback's."""
    found: set[str] = set()
    for remote, family in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((remote, 9))  # of a datagram socket: the route is looked up, nothing more
                found.add(asking.getsockname()[0])
        except OSError:
            continue  # no way out by this protocol
    with suppress(OSError):  # a machine need not know its own name
        found.update(str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None))
    return sorted(each for each in found if not ipaddress.ip_address(each.partition("%")[0]).is_loopback)


async def answering(base_url: str, addresses: Iterable[str], *, timeout_seconds: float) -> list[str]:
    """Those of the addresses at which, on the port of the base URL, a model server says its version."""
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    hosts = [f"[{each}]" if ":" in each else each for each in addresses]
    answers = await asyncio.gather(*(_answers(f"http://{host}:{port}", timeout_seconds) for host in hosts))
    return [host for host, answered in zip(hosts, answers, strict=True) if answered]


async def _answers(base_url: str, timeout_seconds: float) -> bool:
    try:
        async with probe(base_url, timeout_seconds=timeout_seconds) as upstream:
            await upstream.version()
    except (httpx.HTTPError, UpstreamUnreachableError):
        return False
    return True
