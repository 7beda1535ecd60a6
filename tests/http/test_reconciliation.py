"""GET /inventory/reconciliation: the contract's shape, one run for many callers, and no verdict rather than a guess."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from inventory.reconciliation import shared
from inventory.reconciliation.scheduled import DriftFound, reconcile_and_tell
from persistence.migrate import upgrade
from tests.http.conftest import Shop, assert_problem
from tests.http.running import RunningService
from tests.waiting import wait_until

PATH = "/inventory/reconciliation"


@pytest.fixture
def own_shop(make_service: Callable[..., RunningService], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(shared, "FRESH_S", 0.0)
    shop = Shop(make_service(), "protocol")
    yield shop
    shop.close()


def test_a_store_in_order_is_ok(one_shop: Shop) -> None:
    one_shop.reserve(one_shop.sku())
    answer = one_shop.as_("auditor").get(PATH)
    assert answer.status_code == 200
    found = answer.json()
    assert found["status"] == "ok", found["drift"]
    assert (found["drift"], found["drift_found"]) == ([], 0)
    assert found["checked_skus"] > 0
    assert found["checked_holds"] > 0
    assert found["journal_lag_events"] >= 0
    assert found["epoch"] == 1
    assert found["as_of"].endswith("Z")
    assert {check["invariant"] for check in found["checks"]} == {"1", "2", "3"}


def test_drift_is_named(own_shop: Shop) -> None:
    sku = own_shop.sku(10)
    held = own_shop.reserve(sku, 2)
    with redis.Redis.from_url(own_shop.running.redis_url) as client:
        client.hset("{h00}:stock", sku, "9 2 0 0 1")
        client.delete("{h00}:deadlines")
    found = own_shop.as_("auditor").get(PATH).json()
    assert found["status"] == "drift"
    assert found["drift"] == [
        {
            "sku": sku,
            "counter": "hold",
            "expected": 2,
            "actual": 0,
            "reservation_id": held["id"],
            "detail": "ACTIVE in the ledger, no deadline in Redis",
        },
        {"sku": sku, "counter": "on_hand", "expected": 10, "actual": 9, "reservation_id": None, "detail": ""},
    ]
    assert found["drift_found"] == 2

    def gauges() -> dict[str, float]:
        families = text_string_to_metric_families(own_shop.as_("nobody").get("/metrics").text)
        return {family.name: family.samples[0].value for family in families if "reconciliation" in family.name}

    assert gauges() == {}
    with pytest.raises(DriftFound):
        own_shop.running.run(lambda: reconcile_and_tell(own_shop.running.services.inventory))
    assert gauges()["holdfast_reconciliation_differences"] == 2


def test_callers_at_once_share_one_run(own_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    own_shop.sku()
    real, runs = shared.reconcile, []

    async def counted(*arguments: Any, **more: Any) -> Any:
        runs.append(1)
        await asyncio.sleep(0.2)
        return await real(*arguments, **more)

    monkeypatch.setattr(shared, "FRESH_S", 60.0)
    monkeypatch.setattr(shared, "reconcile", counted)
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: own_shop.as_("auditor").get(PATH), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(runs) == 1
    assert own_shop.as_("auditor").get(PATH).json() == answers[0].json()


def test_what_cannot_be_known_is_503(own_shop: Shop) -> None:
    sku = own_shop.sku()
    wait_until(lambda: own_shop.as_("auditor").get(PATH).json()["journal_lag_events"] == 0)
    own_shop.running.stop_flusher()
    own_shop.reserve(sku)
    with redis.Redis.from_url(own_shop.running.redis_url) as client:
        kept = client.xrange("{h00}:journal")
        client.delete("{h00}:journal")
        problem = assert_problem(own_shop.as_("auditor").get(PATH), 503, "reconciliation-unknown")
        assert "nowhere in the journal" in problem["detail"]
        for stream_id, fields in kept:
            client.xadd("{h00}:journal", fields, id=stream_id)
    own_shop.running.start_flusher()
    assert own_shop.as_("auditor").get(PATH).json()["status"] == "ok"


def test_without_redis_or_postgres_nobody_is_told_ok(
    make_service: Callable[..., RunningService], make_redis: Any, make_postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "FRESH_S", 0.0)
    redis_server, postgres_server = make_redis(), make_postgres()
    upgrade(postgres_server.url)
    shop = Shop(make_service(redis=redis_server.url, database=postgres_server.url), "protocol")
    sku = shop.sku()
    shop.reserve(sku)
    assert shop.as_("auditor").get(PATH).json()["status"] == "ok"
    redis_server.stop()
    assert_problem(shop.as_("auditor").get(PATH), 503, "store-unavailable")
    redis_server.start()
    wait_until(lambda: shop.as_("auditor").get(PATH).status_code == 200)
    postgres_server.stop()
    assert_problem(shop.as_("auditor").get(PATH), 503, "ledger-unavailable")
    assert "holdfast_engine_connected" in shop.as_("nobody").get("/metrics").text
    postgres_server.start()
    wait_until(lambda: shop.as_("auditor").get(PATH).status_code == 200)
    assert shop.as_("auditor").get(PATH).json()["status"] == "ok"
    shop.close()
