"""One signed request to a webhook's endpoint: to a checked address, within limits, and what came of it.

Owns the connection: each is made to an address that was resolved once and checked just then, so no name can lead
elsewhere between check and call; TLS and the Host header keep the name. httpcore is used without httpx: it follows no
redirect, reads no proxy from the environment and keeps no cookie. Never decides whether or when to try again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final

import httpcore
from httpcore import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream
from msgspec import Struct

from inventory.refusals import WebhookUrlRefused
from inventory.webhooks.addresses import Resolver, checked_addresses, system_resolver
from inventory.webhooks.endpoint_url import Endpoint

CONNECT_TIMEOUT_S: Final = 3.0
"""Resolving, checking and connecting, whatever the number of addresses."""
TOTAL_TIMEOUT_S: Final = 10.0
"""From the first byte sent to the last one read."""
MAX_ANSWER_BYTES: Final = 4096
"""Of the answer's body; more is not read, and the connection is given up."""
CONNECTIONS: Final = 8
KEEP_ALIVE_S: Final = 15.0
MAX_RETRY_AFTER_S: Final = 86_400
USER_AGENT: Final = "Holdfast-Webhooks/1"


class Attempt(Struct, frozen=True):
    """What came of one request."""

    status: int | None = None
    """HTTP status; None when there was no answer."""
    error: str = ""
    """Why it does not count as delivered, in a few words; empty: delivered."""
    retry_after_s: int = 0
    """The least wait that the receiver asked for."""

    @property
    def delivered(self) -> bool:
        """The receiver took it."""
        return not self.error

    @property
    def gone(self) -> bool:
        """The receiver wants nothing more, ever."""
        return self.status == 410


class Sender:
    """Connections to webhooks, kept open between requests. Use it as an async context manager.

    `allow_private`: see addresses.py. `resolve` and `tls` are for tests.
    """

    def __init__(
        self, *, allow_private: bool, resolve: Resolver = system_resolver, tls: ssl.SSLContext | None = None
    ) -> None:
        self._backend = _CheckedBackend(resolve, allow_private)
        self._tls = tls
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def __aenter__(self) -> Sender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.aclose()

    async def post(self, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """POST `body` as JSON. Never raises for what the network or the receiver does."""
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                return await self._post(endpoint, body, headers)
        except WebhookUrlRefused as refusal:
            return Attempt(error=refusal.detail)
        except (TimeoutError, httpcore.TimeoutException):
            return Attempt(error="no answer in time")
        except httpcore.ProtocolError:
            return Attempt(error="the answer was not HTTP, or the connection was closed before it")
        except (httpcore.NetworkError, OSError) as error:
            return Attempt(error=_told(error))

    async def _post(self, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> Attempt:
        url = httpcore.URL(scheme=endpoint.scheme, host=endpoint.host, port=endpoint.port, target=endpoint.target)
        sent: dict[bytes | str, bytes | str] = {
            "host": endpoint.host_header,
            "user-agent": USER_AGENT,
            "accept": "*/*",
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        sent.update(headers)
        limits = {"connect": CONNECT_TIMEOUT_S, "read": TOTAL_TIMEOUT_S, "write": TOTAL_TIMEOUT_S}
        async with self._connections(endpoint.scheme).stream(
            "POST", url, headers=sent, content=body, extensions={"timeout": limits}
        ) as response:
            read = 0
            async for chunk in response.aiter_stream():
                read += len(chunk)
                if read > MAX_ANSWER_BYTES:
                    break
        status: int = response.status
        if 200 <= status < 300:
            return Attempt(status)
        error = f"HTTP {status}: redirects are not followed" if 300 <= status < 400 else f"HTTP {status}"
        return Attempt(status, error, _retry_after_s(response.headers))

    def _connections(self, scheme: str) -> httpcore.AsyncConnectionPool:
        if self._pool is None:
            # Reading the authorities costs more than anything else a job does: only when there is a use for them.
            tls = self._tls or (httpcore.default_ssl_context() if scheme == "https" else None)
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=CONNECTIONS,
                keepalive_expiry=KEEP_ALIVE_S,
                retries=0,
                network_backend=self._backend,
            )
        return self._pool


class _CheckedBackend(AsyncNetworkBackend):
    """Connects to a name's addresses if all of them may be called, and asks the resolver only once for that."""

    def __init__(self, resolve: Resolver, allow_private: bool) -> None:
        self._plain = httpcore.AnyIOBackend()
        self._resolve = resolve
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """A connection to one of the checked addresses. Raises WebhookUrlRefused, OSError, httpcore's errors."""
        async with asyncio.timeout(timeout):
            addresses = await checked_addresses(host, port, self._resolve, allow_private=self._allow_private)
            for address in addresses[:-1]:
                try:
                    return await self._plain.connect_tcp(address, port, CONNECT_TIMEOUT_S / len(addresses))
                except (httpcore.ConnectError, httpcore.ConnectTimeout):
                    continue
            return await self._plain.connect_tcp(addresses[-1], port, CONNECT_TIMEOUT_S)


def _retry_after_s(headers: list[tuple[bytes, bytes]]) -> int:
    """Retry-After in seconds, as far as we heed it; 0 when there is none that we can read."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) <= 9:
            return min(int(value), MAX_RETRY_AFTER_S)
    return 0


def _told(error: BaseException) -> str:
    """A network error in a line that fits the log; the system's words, without what they were wrapped in."""
    cause = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    text = "".join(filter(str.isprintable, str(cause).strip() or str(error).strip()))
    return f"{type(cause).__name__}: {text}"[:200] if text else type(cause).__name__
