"""Which addresses a webhook may reach: one table of networks, and one function that holds every address against it.

Owns the table and how a name becomes addresses; never connects. The networks are IANA's special-purpose registries,
written out so that the answer is the same with every version of Python's `ipaddress`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from inventory.refusals import WebhookUrlRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Awaitable[tuple[str, ...]]]
"""Host and port -> every address of it, as text. Raises OSError when there is none."""

RESOLVE_TIMEOUT_S: Final = 3.0

_LOCAL: Final = (
    ("127.0.0.0/8", "loopback"),
    ("10.0.0.0/8", "private"),
    ("172.16.0.0/12", "private"),
    ("192.168.0.0/16", "private"),
    ("100.64.0.0/10", "shared (carrier NAT)"),
    ("::1/128", "loopback"),
    ("fc00::/7", "private"),
)
"""Allowed by HOLDFAST_WEBHOOK_ALLOW_PRIVATE."""

_NEVER: Final = (
    ("0.0.0.0/8", "unspecified"),
    ("169.254.0.0/16", "link-local"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::ffff:0:0/96", "IPv4 in IPv6"),
    ("::/96", "IPv4 in IPv6"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "reserved"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
"""Refused whatever is set: no receiver lives there, and an address inside another hides where it leads."""

_LOCAL_NETWORKS: Final = tuple((ipaddress.ip_network(network), what) for network, what in _LOCAL)
_NEVER_NETWORKS: Final = tuple((ipaddress.ip_network(network), what) for network, what in _NEVER)
_GLOBAL_IPV6: Final = ipaddress.ip_network("2000::/3")


def why_refused(address: Address, *, allow_private: bool) -> str | None:
    """What kind of address this is if it may not be called, or None if it may."""
    for network, what in _LOCAL_NETWORKS:
        if address in network:
            return None if allow_private else what
    for network, what in _NEVER_NETWORKS:
        if address in network:
            return what
    return "not a global address" if address.version == 6 and address not in _GLOBAL_IPV6 else None


async def checked_addresses(host: str, port: int, resolve: Resolver, *, allow_private: bool) -> tuple[str, ...]:
    """Every address of `host`, all of which may be called: connect to these and ask no resolver again.

    One address that may not be called spoils them all: which of several a connection would take is not ours to say.
    Raises WebhookUrlRefused, also when the name has no address; OSError or TimeoutError when nobody can tell now.
    """
    found = await resolve(host, port)
    if not found:
        raise WebhookUrlRefused(f"{host} has no address.")
    for text in found:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise WebhookUrlRefused(f"{host} has an address that cannot be read.") from None
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            raise WebhookUrlRefused(f"{host} has an address that is valid on one link only.")
        what = why_refused(address, allow_private=allow_private)
        if what is not None:
            raise WebhookUrlRefused(f"{host} leads to {address} ({what}), which webhooks may not reach.")
    return tuple(dict.fromkeys(found))


async def system_resolver(host: str, port: int) -> tuple[str, ...]:
    """What the system's resolver says, within RESOLVE_TIMEOUT_S. Raises OSError, TimeoutError."""
    async with asyncio.timeout(RESOLVE_TIMEOUT_S):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(str(address[0]) for *_, address in found)
