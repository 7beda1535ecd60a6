"""The ledger is far behind: what makes the journal longer gets 503, what ends holds goes on, and all of it drains."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from inventory.back_pressure import BackPressure, BackPressureSettings
from tests.http.conftest import Shop, assert_problem
from tests.http.running import RunningService
from tests.waiting import wait_until

RESERVE = "/inventory/reserve"


@pytest.fixture
def shop(make_service: Callable[..., RunningService]) -> Iterator[Shop]:
    shop = Shop(make_service(), "protocol")
    yield shop
    shop.close()


def reserve(shop: Shop, sku: str) -> httpx.Response:
    return shop.as_("storefront").post(RESERVE, json={"customer_id": "ann", "sku": sku, "quantity": 1})


@pytest.mark.parametrize(
    ("limits", "fills"),
    [
        (BackPressureSettings(max_events=40, max_bytes=0, interval_s=0.02), 60),
        # What the journal takes in memory is asked for from 1,000 events on.
        (BackPressureSettings(max_events=0, max_bytes=50_000, interval_s=0.02), 1_000),
    ],
    ids=["events", "bytes"],
)
def test_26_a_full_journal_refuses_what_makes_it_longer(shop: Shop, limits: BackPressureSettings, fills: int) -> None:
    running = shop.running
    store, office = shop.as_("storefront"), shop.as_("admin")
    sku = shop.sku(5_000)
    held, other, longer = (shop.reserve(sku, 2)["id"] for _ in range(3))
    wait_until(lambda: shop.as_("nobody").get("/readyz").status_code == 200, 30, "the ledger to be level")
    running.stop_flusher()
    pressure = BackPressure(running.services.engine, running.services.watermark, limits)

    async def begin() -> None:
        pressure.start()

    running.run(begin)
    try:
        one = {"customer_id": "ann", "sku": sku, "quantity": 1}
        answer = store.post(f"{RESERVE}/batch", json={"reservations": [one] * fills})
        granted = sum(item["status"] == 201 for item in answer.json()["results"])
        wait_until(lambda: reserve(shop, sku).status_code == 503, 30, "the journal to be full")
        level = shop.level(sku)

        adjust = {"sku": sku, "kind": "receive", "quantity": 1, "reason": "a delivery"}
        for refused in (
            reserve(shop, sku),
            store.patch(f"{RESERVE}/{longer}", json={"lines": [{"sku": sku, "quantity": 3}]}),
            office.post("/inventory/adjust", json=adjust),
            office.post("/inventory/damage", json={"sku": sku, "quantity": 1, "reason": "broken"}),
        ):
            assert_problem(refused, 503, "journal-full")
        (item,) = store.post(f"{RESERVE}/batch", json={"reservations": [one]}).json()["results"]
        assert (item["status"], item["problem"]["code"]) == (503, "journal-full")
        assert shop.level(sku) == level

        assert store.patch(f"{RESERVE}/{longer}", json={"ttl_seconds": 600}).status_code == 200
        assert store.post(f"{RESERVE}/{held}/confirm").json()["status"] == "COMPLETED"
        assert store.delete(f"{RESERVE}/{other}").json()["status"] == "CANCELLED"
        assert store.get(f"{RESERVE}/{longer}").json()["status"] == "ACTIVE"
        assert store.get(f"/inventory/availability/{sku}").status_code == 200
        on_hand, reserved = level
        assert shop.level(sku) == (on_hand - 2, reserved - 4)

        running.start_flusher()
        wait_until(lambda: reserve(shop, sku).status_code == 201, 60, "room again")
        assert office.post("/inventory/adjust", json=adjust).status_code == 201
    finally:
        running.run(pressure.close)

    def level_again() -> bool:
        found = shop.as_("auditor").get("/inventory/reconciliation").json()
        return (found.get("status"), found.get("journal_lag_events"), found.get("drift")) == ("ok", 0, [])

    wait_until(level_again, 60, "no drift at all")
    assert granted > 0
