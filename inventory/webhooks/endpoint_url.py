"""The address of a webhook: taken apart strictly, so that what was checked is what is called.

Owns which URLs are acceptable as text; never resolves a name (addresses.py) and never sends (sender.py).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from inventory.refusals import WebhookUrlRefused

MAX_URL: Final = 2_000
"""Characters."""

_PORTS: Final = {"https": 443, "http": 80}
_LOW_PORTS: Final = frozenset({80, 443})
"""Below 1024 other services listen, and some of them take an HTTP request for their own protocol."""
_PRINTABLE: Final = re.compile(r"[!-~]+\Z")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_NUMBER: Final = re.compile(r"(?:\d+|0[xX][0-9A-Fa-f]*)\Z")
_DIGITS: Final = re.compile(r"\d{1,5}\Z")


class Endpoint(Struct, frozen=True):
    """A URL's parts as a request needs them."""

    scheme: str
    host: str
    """Lower case; an IPv6 address without brackets."""
    port: int
    target: str
    """Path and query."""

    @property
    def host_header(self) -> str:
        """What the request's Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_endpoint(url: str, *, allow_private: bool) -> Endpoint:
    """The parts of `url`. Raises WebhookUrlRefused for everything that is not plainly an https URL with a host.

    `allow_private`: http is taken too.
    """
    if len(url) > MAX_URL:
        raise WebhookUrlRefused(f"A webhook's URL has at most {MAX_URL} characters.")
    # Where parsers disagree (backslashes, spaces, control characters, letters beyond ASCII) attacks live.
    if not _PRINTABLE.match(url) or "\\" in url:
        raise WebhookUrlRefused(
            "A webhook's URL is printable ASCII without backslashes; write other letters as xn-- or %."
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        raise WebhookUrlRefused("This is not a URL.") from None
    if parts.scheme not in _PORTS or not parts.netloc:
        raise WebhookUrlRefused("A webhook's URL begins with https://.")
    if parts.scheme == "http" and not allow_private:
        raise WebhookUrlRefused("A webhook's URL begins with https://; http would show events to everybody on the way.")
    if "@" in parts.netloc:
        raise WebhookUrlRefused("A webhook's URL has no user or password: requests are signed instead.")
    if "#" in url:
        raise WebhookUrlRefused("A webhook's URL has no fragment.")
    host, port = _host_and_port(parts.netloc, _PORTS[parts.scheme])
    if port < 1024 and port not in _LOW_PORTS:
        raise WebhookUrlRefused(f"Port {port} belongs to another service than HTTP.")
    target = parts.path or "/"
    return Endpoint(parts.scheme, host, port, f"{target}?{parts.query}" if parts.query else target)


def _host_and_port(netloc: str, default_port: int) -> tuple[str, int]:
    if netloc.startswith("["):
        inside, bracket, rest = netloc[1:].partition("]")
        try:
            host = str(ipaddress.IPv6Address(inside))
        except ValueError:
            raise WebhookUrlRefused("The address between the brackets is no IPv6 address.") from None
        if not bracket or "%" in inside or (rest and not rest.startswith(":")):
            raise WebhookUrlRefused("The address between the brackets is no IPv6 address.")
        colon, port = rest[:1], rest[1:]
    else:
        name, colon, port = netloc.partition(":")
        host = _plain_host(name)
    if not colon:
        return host, default_port
    if not _DIGITS.match(port) or not 1 <= int(port) <= 65_535:
        raise WebhookUrlRefused("The port is a number from 1 to 65535.")
    return host, int(port)


def _plain_host(name: str) -> str:
    """A host name, or an IPv4 address in its one ordinary spelling."""
    labels = name.split(".")
    if _NUMBER.match(labels[-1]):
        # A last label that is a number makes resolvers read the whole as an address: 2130706433, 0x7f.1, 0177.0.0.1.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise WebhookUrlRefused("An IPv4 address is written as four decimal numbers.") from None
    if len(name) > 253 or not all(map(_LABEL.match, labels)):
        raise WebhookUrlRefused("This is no host name.")
    return name.lower()
