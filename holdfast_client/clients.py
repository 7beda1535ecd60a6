"""The two clients: every operation of operations/, driven on this thread or on an event loop.

Owns the connections, the key and the defaults of one client. Never decides how a call is made.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Generic, Self, TypeVar

import httpx

from holdfast_client.answers.shop import Reservation
from holdfast_client.asking import Lines
from holdfast_client.connections import Connections
from holdfast_client.driving import Async, Sync
from holdfast_client.holds import AsyncHold, Hold
from holdfast_client.operations.bulk import BulkOperations
from holdfast_client.operations.changes import ChangeOperations
from holdfast_client.operations.reservations import ReservationOperations, reserve_call
from holdfast_client.operations.running import RunningOperations
from holdfast_client.operations.stock import StockOperations
from holdfast_client.operations.webhooks import WebhookOperations
from holdfast_client.retrying import Manner, Retries
from holdfast_client.steps import Call
from holdfast_client.version import VERSION

H = TypeVar("H")

_IDLE_S = 4.0
"""How long an unused connection is kept: less than the service keeps it (5 s), or requests would meet closed ones."""


class _Client(
    ReservationOperations,
    StockOperations,
    ChangeOperations,
    BulkOperations,
    RunningOperations,
    WebhookOperations,
    Generic[H],
):
    """What both have: everything but the driver. `H`: what `hold` gives."""

    _url: str

    def hold(
        self,
        what: str | Lines,
        quantity: int = 1,
        *,
        customer_id: str,
        cart_id: str | None = None,
        ttl_s: int | None = None,
        allow_partial: bool = False,
        idempotency_key: str | None = None,
    ) -> H:
        """Hold stock for the length of a `with` block: `quantity` units of the SKU `what`, or the lines `what`.

        The stock is reserved when the block begins (which raises what `reserve` raises), and released when it ends, by
        an exception or not, unless it was confirmed in between. A release that fails is logged, never raised: the hold
        ends by itself after `ttl_s` seconds.
        """
        return self._hold(reserve_call(what, quantity, customer_id, cart_id, ttl_s, allow_partial, idempotency_key))

    def _hold(self, reserve: Call[Reservation]) -> H:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"


class Client(_Client[Hold], Sync):
    """A service, asked from ordinary code. Safe to share between threads, and with processes that are forked from this
    one; close it, or use it in a `with` block.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 15.0,
        retries: Retries | None = None,
        connections: int = 100,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url`: such as `http://127.0.0.1:8000`. `key`: an API key; None for what needs none (health, metrics).

        `timeout_s`: of one attempt. `retries`: how long a call is tried in all. `connections`: most at a time.
        `transport`: an httpx transport, for a unix socket or a test. Raises ValueError for a bad address or key.
        """
        self._url = url
        self._manner = Manner(time.monotonic, retries or Retries(), timeout_s)
        self._http = Connections(partial(httpx.Client, **_options(url, key, connections), transport=transport))

    def _hold(self, reserve: Call[Reservation]) -> Hold:
        hold = Hold(self._manner, reserve)
        hold._http = self._http
        return hold

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Client[AsyncHold], Async):
    """A service, asked from async code. One for each event loop; close it, or use `async with`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 15.0,
        retries: Retries | None = None,
        connections: int = 100,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As for Client."""
        self._url = url
        self._manner = Manner(time.monotonic, retries or Retries(), timeout_s)
        self._http = httpx.AsyncClient(**_options(url, key, connections), transport=transport)

    def _hold(self, reserve: Call[Reservation]) -> AsyncHold:
        hold = AsyncHold(self._manner, reserve)
        hold._http = self._http
        return hold

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _options(url: str, key: str | None, connections: int) -> dict[str, Any]:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"not an address: {url!r}") from error
    if address.userinfo or address.query or address.fragment:
        # A user would go out in place of the key; and it is not shown here, since it may have a password.
        raise ValueError("not an address such as http://127.0.0.1:8000: it has a user, a query or a fragment")
    if address.scheme not in {"http", "https"} or not address.host:
        raise ValueError(f"not an address such as http://127.0.0.1:8000: {url!r}")
    headers = {"user-agent": f"holdfast-client/{VERSION}", "accept": "application/json"}
    if key is not None:
        if not (key.isascii() and key.isprintable() and key and " " not in key):
            raise ValueError("an API key is printable ASCII without spaces")
        headers["authorization"] = f"Bearer {key}"
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_IDLE_S)
    return {"base_url": address, "headers": headers, "limits": limits}
