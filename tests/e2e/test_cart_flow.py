"""A cart from the first mug to the return, told by HTTP and told by the stream: the same story both ways.

The service is whole: the API on one side, a worker with flusher, sweeper and the orders stream on the other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis

from runtime.throwaway_service import ServiceAddress
from tests.waiting import wait_until
from worker.order_stream import OrderStreamSettings
from worker.service import Worker, WorkerSettings
from worker.sweeper import SweeperSettings

STREAM = "holdfast:orders"


class Till:
    """The shop's side: carts by HTTP, orders by HTTP or by the stream."""

    def __init__(self, service: ServiceAddress, by: str, client: redis.Redis) -> None:
        self.by = by
        self._redis = client
        self.shop = _client(service, service.storefront_key)
        self.admin = _client(service, service.admin_key)

    def close(self) -> None:
        self.shop.close()
        self.admin.close()

    def product(self, sku: str, stock: int) -> str:
        body = {"name": sku.title(), "initial_stock": stock}
        self.admin.put(f"/inventory/products/{sku}", json=body).raise_for_status()
        return sku

    def cart(self, cart_id: str, lines: dict[str, int], ttl_seconds: int = 900) -> str:
        body = {"customer_id": "ann", "cart_id": cart_id, "lines": _lines(lines), "ttl_seconds": ttl_seconds}
        answer = self.shop.post("/inventory/reserve", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def change(self, reservation: str, lines: dict[str, int]) -> httpx.Response:
        return self.shop.patch(f"/inventory/reserve/{reservation}", json={"lines": _lines(lines)})

    def available(self, sku: str) -> int:
        return int(self.shop.get(f"/inventory/availability/{sku}").json()["available"])

    def report(self, event: dict[str, Any]) -> str:
        """Tell an order event; gives the code it was refused with, or "" once its effect is in the ledger."""
        if self.by == "http":
            answer = self.shop.post("/inventory/orders", json=event)
            return "" if answer.status_code == 200 else str(answer.json()["code"])
        entry = self._redis.xadd(STREAM, {"event": httpx.Request("POST", "http://x", json=event).content})
        wait_until(lambda: self._redis.xlen(STREAM) == 0, 20, "the event is acknowledged and trimmed")
        letters = self.admin.get("/inventory/orders/dead-letters").json()["items"]
        return next((one["code"] for one in letters if one["stream_id"] == entry.decode()), "")  # type: ignore[union-attr]

    def movements(self, sku: str) -> list[tuple[str, int, int]]:
        """Of one SKU, oldest first: type, quantity, stock afterwards."""
        rows = self.admin.get(f"/inventory/transactions/{sku}").json()["items"]
        return [(row["transaction_type"], row["quantity"], row["new_stock"]) for row in reversed(rows)]

    def give_back(self, order: str, lines: dict[str, int]) -> httpx.Response:
        body = {"order_id": order, "items": _lines(lines), "reason": "did not like it"}
        return self.admin.post("/inventory/return", json=body)


def _client(service: ServiceAddress, key: str) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=20)


def _lines(lines: dict[str, int]) -> list[dict[str, Any]]:
    return [{"sku": sku, "quantity": quantity} for sku, quantity in lines.items()]


@pytest.fixture
def worker(serve: Callable[..., ServiceAddress], redis_url: str, database_url: str) -> Iterator[ServiceAddress]:
    address = serve()
    settings = WorkerSettings(
        redis_url,
        database_url,
        sweeper=SweeperSettings(interval_ms=20),
        orders=OrderStreamSettings(
            stream=STREAM, redis_url=redis_url, block_ms=50, trim_every_ms=20, unknown_order_delays_ms=(20, 40)
        ),
    )
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    failures: list[BaseException] = []

    async def work() -> None:
        stop = asyncio.Event()
        started.append((asyncio.get_running_loop(), stop))
        await Worker(settings).run(stop)

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=run, name="worker under test", daemon=True)
    thread.start()
    yield address
    loop, stop = started[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()
    assert not failures, failures


@pytest.fixture(params=["http", "stream"])
def till(
    request: pytest.FixtureRequest, worker: ServiceAddress, redis_client: redis.Redis, known_keys: list[str]
) -> Iterator[Till]:
    known_keys.append(STREAM)
    till = Till(worker, request.param, redis_client)
    yield till
    till.close()


def test_a_cart_from_the_first_mug_to_the_return(till: Till) -> None:
    mug, cup = till.product("MUG", 10), till.product("CUP", 5)

    cart = till.cart("cart-1", {mug: 1})
    assert till.change(cart, {mug: 1, cup: 2}).status_code == 200
    assert (till.available(mug), till.available(cup)) == (9, 3)
    assert till.change(cart, {mug: 3, cup: 2}).json()["lines"] == _lines({mug: 3, cup: 2})

    # More than there is: the cart stays as it was, whole.
    refused = till.change(cart, {mug: 3, cup: 6})
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient-stock")
    assert (till.available(mug), till.available(cup)) == (7, 3)

    assert till.change(cart, {mug: 3}).json()["lines"] == _lines({mug: 3})
    assert (till.available(mug), till.available(cup)) == (7, 5)

    created = {"type": "order.created", "order_id": "order-1", "reservation_ids": [cart]}
    assert till.report(created) == ""
    sold = till.shop.get(f"/inventory/reserve/{cart}").json()
    assert (sold["status"], sold["order_id"], sold["cart_id"]) == ("COMPLETED", "order-1", "cart-1")
    assert till.report(created) == ""
    assert till.change(cart, {mug: 1}).json()["code"] == "reservation-not-active"

    assert till.give_back("order-1", {mug: 1}).status_code == 201
    assert till.give_back("order-1", {mug: 3}).json()["code"] == "return-exceeds-order"

    cancelled = {"type": "order.cancelled", "order_id": "order-1", "reason": "lost on the way"}
    assert till.report(cancelled) == ""
    assert till.report(cancelled) == ""
    assert till.give_back("order-1", {mug: 1}).json()["code"] == "return-exceeds-order"

    assert till.movements(mug) == [("IN", 10, 10), ("OUT", -3, 7), ("RETURN", 1, 8), ("IN", 2, 10)]
    assert till.movements(cup) == [("IN", 5, 5)]
    assert (till.available(mug), till.available(cup)) == (10, 5)
    told_by = {"http": "storefront", "stream": "orders-stream"}[till.by]
    rows = till.admin.get("/inventory/transactions", params={"reference_id": "order-1", "type": "IN"}).json()["items"]
    assert [(row["created_by"], row["reason"]) for row in rows] == [(told_by, "lost on the way")]


def test_an_abandoned_cart(till: Till) -> None:
    mug = till.product("MUG", 3)
    abandoned = till.cart("cart-2", {mug: 3}, ttl_seconds=1)
    assert till.available(mug) == 0
    wait_until(lambda: till.available(mug) == 3, what="the hold ends by itself")
    wait_until(
        lambda: till.admin.get("/inventory/reservations", params={"status": "EXPIRED"}).json()["items"],
        what="the end is on record",
    )
    # Somebody else takes the mugs; coming back to the till is too late, and takes nothing from anybody.
    bought = till.cart("cart-3", {mug: 3})
    late = {"type": "order.created", "order_id": "order-2", "reservation_ids": [abandoned]}
    assert till.report(late) == "reservation-expired"
    both = {"type": "order.created", "order_id": "order-2", "reservation_ids": [bought, abandoned]}
    assert till.report(both) == "reservation-expired"
    assert till.report({"type": "order.created", "order_id": "order-3", "reservation_ids": [bought]}) == ""
    assert till.report({"type": "order.cancelled", "order_id": "order-2"}) == "unknown-order"
    assert till.movements(mug) == [("IN", 3, 3), ("OUT", -3, 0)]


def test_an_emptied_cart(till: Till) -> None:
    mug = till.product("MUG", 3)
    cart = till.cart("cart-4", {mug: 2})
    assert till.shop.delete(f"/inventory/reserve/{cart}").json()["status"] == "CANCELLED"
    assert till.available(mug) == 3
    created = {"type": "order.created", "order_id": "order-4", "reservation_ids": [cart]}
    assert till.report(created) == "reservation-not-active"
    assert till.movements(mug) == [("IN", 3, 3)]
