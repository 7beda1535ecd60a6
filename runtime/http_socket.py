"""The one listening socket that all API processes of a service share.

Owns binding it and saying clearly why it can't be bound; never accepts a connection.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

BACKLOG: Final = 2048
"""Connections the kernel keeps for us while every process is busy or being restarted."""


class AddressRefused(RuntimeError):
    """The address can't be listened on; the message says why and what to do."""


def bind_http_socket(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port` (0: any free one), not listening yet. Raises AddressRefused."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise AddressRefused(f"{host} is no address of this machine: {error.strerror}") from error
    bound = socket.socket(family, kind, protocol)
    # A port whose last service ended a moment ago is free; one that is listened on is still refused.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _refusal(error, host, port) from error
    return bound


def listen(bound: socket.socket) -> None:
    """Begin to take connections. Raises AddressRefused if another program was quicker."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _refusal(error, host, port) from error


def http_url(bound: socket.socket, host: str) -> str:
    """`http://HOST:PORT` as someone on this machine would write it."""
    port = bound.getsockname()[1]
    shown = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - for show
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"http://{shown}:{port}"


def _refusal(error: OSError, host: str, port: int) -> AddressRefused:
    if error.errno == errno.EADDRINUSE:
        return AddressRefused(
            f"port {port} on {host} is in use by another program; stop it, or choose another with --port"
        )
    if error.errno == errno.EACCES:
        return AddressRefused(f"this account may not listen on port {port}; choose one above 1023 with --port")
    if error.errno == errno.EADDRNOTAVAIL:
        return AddressRefused(f"{host} is no address of this machine; choose another with --host")
    return AddressRefused(f"can't listen on {host} port {port}: {error.strerror}")
