"""Redis or Postgres away, full, emptied or stopped: a clear 503, nothing half done, and on again by itself."""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis
from structlog.testing import capture_logs

from api.services import ApiSettings
from engine import EngineSettings
from engine.keys import partition_keys
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.http.conftest import Shop, assert_problem
from tests.http.running import KEYS, RunningService
from tests.waiting import wait_until

RESERVE = "/inventory/reserve"
MakeService = Callable[..., RunningService]


@pytest.fixture
def shop_on(request: pytest.FixtureRequest) -> Iterator[Callable[[RunningService, str], Shop]]:
    shops: list[Shop] = []

    def make(running: RunningService, adapter: str = "protocol") -> Shop:
        shops.append(Shop(running, adapter))
        return shops[-1]

    yield make
    for shop in shops:
        shop.close()


ShopOn = Callable[..., Shop]


def reserve(shop: Shop, sku: str, **headers: str) -> httpx.Response:
    body = {"customer_id": "ann", "sku": sku, "quantity": 1}
    return shop.as_("storefront").post(RESERVE, json=body, headers=headers)


def test_redis_goes_and_comes_back(
    make_service: MakeService, make_redis: Callable[..., EmbeddedRedis], shop_on: ShopOn
) -> None:
    server = make_redis(appendfsync="always")
    running = make_service(redis=server.url)
    shops = [shop_on(running, adapter) for adapter in ("protocol", "asgi")]
    sku = shops[0].sku(10)
    assert reserve(shops[0], sku).status_code == 201
    server.stop()
    for shop in shops:
        for answer in (
            reserve(shop, sku),
            shop.as_("storefront").get(f"/inventory/availability/{sku}"),
            shop.as_("auditor").get(f"/inventory/products/{sku}/status"),
            shop.as_("auditor").get("/inventory/low-stock"),
        ):
            assert answer.status_code == 503
            assert answer.json()["code"] in {"store-unavailable", "outcome-unknown"}
            assert int(answer.headers["retry-after"]) >= 1
        ready = shop.as_("nobody").get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["redis"] != "ok"
        assert shop.as_("nobody").get("/healthz").status_code == 200
        batch = {"reservations": [{"customer_id": "ann", "sku": sku, "quantity": 1}]}
        item = shop.as_("storefront").post(f"{RESERVE}/batch", json=batch).json()["results"][0]
        assert item["status"] == 503
    server.start()
    for shop in shops:
        wait_until(lambda shop=shop: reserve(shop, sku).status_code == 201, what="reserves after Redis came back")
    wait_until(lambda: shops[0].as_("nobody").get("/readyz").status_code == 200, what="readiness")


def test_redis_forgets_everything(make_service: MakeService, redis_client: redis.Redis, shop_on: ShopOn) -> None:
    running = make_service()
    shop = shop_on(running)
    sku = shop.sku(10)
    reserve(shop, sku).raise_for_status()
    running.stop_flusher()
    redis_client.flushall()
    assert_problem(reserve(shop, sku), 503, "not-ready")
    answer = shop.as_("nobody").get("/readyz")
    assert (answer.status_code, answer.json()["redis"]) == (503, "empty")


def test_redis_is_full(make_service: MakeService, redis_client: redis.Redis, shop_on: ShopOn) -> None:
    shop = shop_on(make_service())
    sku = shop.sku(10)
    held = reserve(shop, sku).json()
    redis_client.config_set("maxmemory", "1mb")
    try:
        assert_problem(reserve(shop, sku), 503, "store-unavailable")
        path = f"{RESERVE}/{held['id']}"
        assert shop.as_("storefront").post(f"{path}/confirm").status_code == 200
    finally:
        redis_client.config_set("maxmemory", "0")
    assert reserve(shop, sku).status_code == 201
    assert shop.level(sku) == (9, 1)


def test_too_many_wait(make_service: MakeService, make_redis: Callable[..., EmbeddedRedis], shop_on: ShopOn) -> None:
    server = make_redis()
    running = make_service(ApiSettings(), EngineSettings(max_queue=10), redis=server.url)
    shop = shop_on(running)
    sku = shop.sku(1000)
    answers: list[httpx.Response] = []
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        threads = [threading.Thread(target=lambda: answers.append(reserve(shop, sku))) for _ in range(60)]
        for thread in threads:
            thread.start()
        wait_until(lambda: any(a.status_code == 503 for a in answers), what="a refusal")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status_code == 503]
    for answer in refused:
        assert_problem(answer, 503, "overloaded")
    granted = [answer for answer in answers if answer.status_code == 201]
    assert len(granted) + len(refused) == 60
    assert shop.level(sku) == (1000, len(granted))


def test_what_is_under_way_when_the_service_stops_is_answered(
    make_service: MakeService, make_redis: Callable[..., EmbeddedRedis], shop_on: ShopOn
) -> None:
    server = make_redis()
    running = make_service(redis=server.url)
    shops = [shop_on(running, adapter) for adapter in ("protocol", "asgi")]
    sku = shops[0].sku(10)
    for shop in shops:  # connections that are kept, so that stopping meets them between and within requests
        reserve(shop, sku).raise_for_status()
    answers: list[httpx.Response] = []
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        threads = [threading.Thread(target=lambda shop=shop: answers.append(reserve(shop, sku))) for shop in shops]
        for batches, thread in enumerate(threads, start=1):
            thread.start()
            wait_until(lambda batches=batches: running.services.engine.in_flight == batches, what="a batch under way")
        running.ask_to_stop()
        wait_until(lambda: not _accepts(running.ports["protocol"]), what="the service to take no more connections")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201, 201]


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_postgres_goes_and_comes_back(
    make_service: MakeService, make_postgres: Callable[..., EmbeddedPostgres], shop_on: ShopOn
) -> None:
    from persistence.migrate import upgrade

    server = make_postgres()
    server.create_database("shop")
    url = server.database_url("shop")
    upgrade(url)
    shop = shop_on(make_service(ApiSettings(ledger_timeout_s=0.5), database=url))
    sku = shop.sku(10)
    held = reserve(shop, sku).json()
    server.stop()
    # What Redis decides goes on, with the keys known so far.
    assert reserve(shop, sku).status_code == 201
    assert shop.as_("storefront").get(f"{RESERVE}/{held['id']}").status_code == 200
    path = f"{RESERVE}/{held['id']}/confirm"
    headers = {"holdfast-durability": "ledger"}
    assert_problem(shop.as_("storefront").post(path, headers=headers), 503, "durability-unknown")
    # What only Postgres knows is unknown for now, which is not the same as not there.
    assert_problem(shop.as_("storefront").get(f"{RESERVE}/{'0' * 36}"), 503, "ledger-unavailable")
    assert_problem(shop.as_("auditor").get("/inventory/transactions"), 503, "ledger-unavailable")
    assert_problem(
        shop.as_("operator").put(f"/inventory/products/{sku}", json={"name": "x"}), 503, "ledger-unavailable"
    )
    stranger = {"authorization": "Bearer never-seen-before-0123456789"}
    assert_problem(shop.as_("nobody").get("/inventory/availability/A", headers=stranger), 503, "ledger-unavailable")
    ready = shop.as_("nobody").get("/readyz")
    assert (ready.status_code, ready.json()["postgres"]) == (503, "unavailable")
    server.start()
    wait_until(lambda: shop.as_("storefront").post(path, headers=headers).status_code == 200, what="the ledger")
    assert_problem(shop.as_("nobody").get("/inventory/availability/A", headers=stranger), 401, "unauthenticated")
    assert shop.as_("auditor").get("/inventory/transactions").status_code == 200
    wait_until(lambda: shop.as_("nobody").get("/readyz").status_code == 200, what="readiness")


def test_a_wait_for_the_ledger_that_is_too_long_is_safe_to_repeat(make_service: MakeService, shop_on: ShopOn) -> None:
    running = make_service(ApiSettings(ledger_timeout_s=0.2, durability="ledger"))
    shop = shop_on(running)
    sku = shop.sku(10)
    running.stop_flusher()
    key = {"idempotency-key": uuid.uuid4().hex}
    body = {"sku": sku, "kind": "receive", "quantity": 5, "reason": "delivery"}
    client = shop.as_("admin")
    assert_problem(reserve(shop, sku, **key), 503, "durability-unknown")
    assert_problem(client.post("/inventory/adjust", json=body, headers=key), 503, "durability-unknown")
    assert_problem(client.post("/inventory/adjust", json=body, headers=key), 503, "durability-unknown")
    running.start_flusher()
    wait_until(lambda: reserve(shop, sku, **key).status_code == 201, what="the ledger")
    again = client.post("/inventory/adjust", json=body, headers=key)
    assert (again.status_code, again.json()["quantity"]) == (201, 5)
    assert shop.level(sku) == (15, 1)


def test_a_flusher_that_is_gone_shows_in_readiness(make_service: MakeService, shop_on: ShopOn) -> None:
    running = make_service()
    shop = shop_on(running)
    wait_until(lambda: shop.as_("nobody").get("/readyz").status_code == 200, what="readiness")
    running.stop_flusher()
    answer = shop.as_("nobody").get("/readyz")
    assert (answer.status_code, answer.json()["flusher"]) == (503, "stopped")


def test_a_mistake_of_ours_shows_no_stack_trace(
    make_service: MakeService, shop_on: ShopOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret inside")

    running = make_service()
    monkeypatch.setattr("api.hot.reserve.reserve_command", broken)
    monkeypatch.setattr("api.hot.respond.record_json", broken)
    monkeypatch.setattr("persistence.queries.transactions.page", broken)
    for adapter in ("protocol", "asgi"):
        shop = shop_on(running, adapter)
        sku = shop.sku(1)
        with capture_logs() as lines:
            for answer in (
                reserve(shop, sku, **{"x-request-id": "find-me"}),
                shop.as_("auditor").get("/inventory/transactions", headers={"x-request-id": "find-me"}),
            ):
                problem = assert_problem(answer, 500, "internal-error")
                assert "secret inside" not in str(problem)
        failed = [line for line in lines if line["event"] == "request failed"]
        assert [line["request_id"] for line in failed] == ["find-me", "find-me"]


def test_a_body_that_is_broken_off_is_no_mistake_of_ours(make_service: MakeService, shop_on: ShopOn) -> None:
    running = make_service(ApiSettings(access_log=True))
    for adapter in ("protocol", "asgi"):
        shop = shop_on(running, adapter)
        sku = shop.sku(1)
        host, _, port = running.address(adapter).removeprefix("http://").partition(":")
        with capture_logs() as lines:
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(
                    b"POST /inventory/adjust HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n"
                    b"content-length: 1000\r\nauthorization: Bearer " + KEYS["admin"].encode() + b"\r\n\r\n{"
                )
                # The request must have been taken before it is given up.
                assert reserve(shop, sku).status_code == 201
            wait_until(lambda: [line for line in lines if line.get("status") == 400], what="it is over")
        assert [line for line in lines if line["event"] == "request failed"] == []


def test_late_confirm_takes_the_stock_again_if_it_is_there(make_service: MakeService, shop_on: ShopOn) -> None:
    shop = shop_on(make_service(ApiSettings(late_confirm=True)))
    client = shop.as_("storefront")
    sku, gone = shop.sku(5), shop.sku(1)
    held, lost = shop.reserve(sku, 2, ttl_seconds=1), shop.reserve(gone, 1, ttl_seconds=1)
    for one in (held, lost):
        wait_until(
            lambda one=one: client.get(f"{RESERVE}/{one['id']}").json()["status"] == "EXPIRED", what="the end of a hold"
        )
    shop.reserve(gone, 1)
    answer = client.post(f"{RESERVE}/{held['id']}/confirm", json={"order_id": "o-1"})
    assert (answer.status_code, answer.json()["status"]) == (200, "COMPLETED")
    assert shop.level(sku) == (3, 0)
    assert_problem(client.post(f"{RESERVE}/{lost['id']}/confirm"), 410, "reservation-expired")


class TestAgedOutOfRedis:
    """What only Postgres remembers is answered from there, by every verb."""

    @pytest.fixture(params=["protocol", "asgi"])
    def shop(self, request: pytest.FixtureRequest, make_service: MakeService, shop_on: ShopOn) -> Shop:
        running = make_service(ApiSettings(ledger_timeout_s=30), EngineSettings(retention_ms=1))
        return shop_on(running, request.param)

    def forget(self, shop: Shop, held: dict[str, Any], status: str) -> None:
        """Wait until Redis has forgotten it and Postgres knows how it ended."""
        key = partition_keys(0).record(held["id"][:24])
        with redis.Redis.from_url(shop.running.redis_url) as client:
            wait_until(lambda: not client.exists(key), what="the record to age out")
        params = {"customer_id": held["customer_id"], "status": status}
        wait_until(
            lambda: shop.as_("auditor").get("/inventory/reservations", params=params).json()["items"],
            what="the ledger to have its end",
        )

    def held(self, shop: Shop, **more: Any) -> tuple[str, dict[str, Any]]:
        held = shop.reserve(shop.sku(5), 2, customer_id=uuid.uuid4().hex, **more)
        return f"{RESERVE}/{held['id']}", held

    def test_sold(self, shop: Shop) -> None:
        path, held = self.held(shop, cart_id="cart-9")
        client = shop.as_("storefront")
        first = client.post(f"{path}/confirm", json={"order_id": "o-1"})
        self.forget(shop, held, "COMPLETED")
        assert client.get(path).json() == first.json()
        assert client.post(f"{path}/confirm", json={"order_id": "o-1"}).json() == first.json()
        assert client.post(f"{path}/confirm").json() == first.json()
        for answer in (
            client.post(f"{path}/confirm", json={"order_id": "o-2"}),
            client.delete(path),
            client.patch(path, json={"ttl_seconds": 5}),
        ):
            assert assert_problem(answer, 409, "reservation-not-active")["reservation"] == first.json()
        body = {"type": "order.created", "order_id": "o-1", "reservation_ids": [held["id"]]}
        order = client.post("/inventory/orders", json=body).json()
        assert order["reservations"] == [first.json()]
        assert [row["quantity"] for row in order["transactions"]] == [-2]
        problem = assert_problem(
            client.post("/inventory/orders", json=body | {"order_id": "o-2"}), 409, "reservation-not-active"
        )
        assert problem["reservation"] == first.json()

    def test_released(self, shop: Shop) -> None:
        path, held = self.held(shop)
        client = shop.as_("storefront")
        first = client.delete(path)
        self.forget(shop, held, "CANCELLED")
        assert client.get(path).json() == client.delete(path).json() == first.json()
        assert_problem(client.post(f"{path}/confirm"), 409, "reservation-not-active")
        assert_problem(client.patch(path, json={"ttl_seconds": 5}), 409, "reservation-not-active")

    def test_expired(self, shop: Shop) -> None:
        path, held = self.held(shop, ttl_seconds=1)
        client = shop.as_("storefront")
        wait_until(lambda: client.get(path).json()["status"] == "EXPIRED", what="the hold to expire")
        with redis.Redis.from_url(shop.running.redis_url) as server:
            key = partition_keys(0).record(held["id"][:24])
            wait_until(lambda: not server.exists(key), what="the record to age out")
        for answer in (
            client.delete(path),
            client.post(f"{path}/confirm"),
            client.patch(path, json={"ttl_seconds": 5}),
        ):
            assert assert_problem(answer, 410, "reservation-expired")["reservation"]["status"] == "EXPIRED"

    def test_anothers(self, shop: Shop) -> None:
        path, held = self.held(shop)
        shop.as_("storefront").delete(path).raise_for_status()
        self.forget(shop, held, "CANCELLED")
        other = shop.as_("other-storefront")
        for answer in (other.get(path), other.delete(path), other.post(f"{path}/confirm")):
            assert_problem(answer, 404, "unknown-reservation")
        assert shop.as_("admin").get(path).status_code == 200

    def test_a_hold_that_redis_lost_is_not_called_unknown(self, shop: Shop) -> None:
        path, held = self.held(shop)
        params = {"customer_id": held["customer_id"]}
        client = shop.as_("storefront")
        wait_until(
            lambda: shop.as_("auditor").get("/inventory/reservations", params=params).json()["items"],
            what="the ledger to have it",
        )
        with redis.Redis.from_url(shop.running.redis_url) as server:
            server.delete(partition_keys(0).record(held["id"][:24]))
        for answer in (client.get(path), client.delete(path), client.post(f"{path}/confirm")):
            assert_problem(answer, 503, "reservation-state-unknown")
