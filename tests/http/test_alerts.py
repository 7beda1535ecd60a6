"""Alerts by HTTP, and the live lists of what is low and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inventory.alerts.check import check_alerts
from tests.http.conftest import Shop, assert_problem
from tests.http.running import RunningService

LOW, OUT = "/inventory/low-stock", "/inventory/out-of-stock"
ALERTS = "/inventory/alerts"


def checked(shop: Shop) -> None:
    """Alerts as the worker would have raised them."""
    shop.running.run(lambda: check_alerts(shop.running.services.inventory))


def alerts_of(shop: Shop, sku: str, **filters: Any) -> list[dict[str, Any]]:
    answer = shop.as_("auditor").get(ALERTS, params={"sku": sku, **filters})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_an_alert_as_it_is_shown(one_shop: Shop) -> None:
    sku = one_shop.sku(9, threshold=10)
    checked(one_shop)
    one_shop.reserve(sku, 2)
    (alert,) = alerts_of(one_shop, sku)
    assert alert.pop("id") > 0
    assert alert.pop("raised_at") == alert.pop("changed_at")
    assert alert == {
        "sku": sku,
        "kind": "LOW_STOCK",
        "status": "PENDING",
        "available": 9,
        "low_stock_threshold": 10,
        "available_now": 7,
        "sell_out_seconds": None,
        "notified_at": None,
        "resolved_at": None,
        "resolved_by": None,
    }


def test_resolving_says_who_and_can_be_repeated(one_shop: Shop) -> None:
    sku = one_shop.sku(9, threshold=10)
    checked(one_shop)
    ((number),) = [alert["id"] for alert in alerts_of(one_shop, sku)]
    first = one_shop.as_("operator").post(f"{ALERTS}/{number}/resolve")
    assert first.status_code == 200
    assert (first.json()["status"], first.json()["resolved_by"]) == ("RESOLVED", "operator")
    assert first.json()["available_now"] is None
    assert one_shop.as_("manager").post(f"{ALERTS}/{number}/resolve").json() == first.json()
    checked(one_shop)
    assert alerts_of(one_shop, sku) == [first.json()]
    assert alerts_of(one_shop, sku, status="PENDING") == []
    # Out after low is worse: that is a new alert.
    one_shop.reserve(sku, 9)
    checked(one_shop)
    assert [(one["kind"], one["status"]) for one in alerts_of(one_shop, sku)] == [
        ("OUT_OF_STOCK", "PENDING"),
        ("LOW_STOCK", "RESOLVED"),
    ]
    assert alerts_of(one_shop, sku, status="PENDING")[0]["sell_out_seconds"] == 0


@pytest.mark.parametrize("number", ["999999999", "9223372036854775807"])
def test_unknown_alerts(one_shop: Shop, number: str) -> None:
    assert_problem(one_shop.as_("operator").post(f"{ALERTS}/{number}/resolve"), 404, "unknown-alert")


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "1e3", "9223372036854775808", "9" * 400])
def test_what_is_no_number_of_an_alert(one_shop: Shop, number: str) -> None:
    assert_problem(one_shop.as_("operator").post(f"{ALERTS}/{number}/resolve"), 422, "validation-error")


@pytest.mark.parametrize("query", ["status=OPEN", "limit=0", "limit=501", "sku=%00", "sku=", "sku=" + "x" * 65])
def test_bad_filters(one_shop: Shop, query: str) -> None:
    assert_problem(one_shop.as_("auditor").get(f"{ALERTS}?{query}"), 422, "validation-error")


def test_pages_newest_first(one_shop: Shop) -> None:
    skus = [one_shop.sku(1, threshold=10) for _ in range(25)]
    checked(one_shop)
    client = one_shop.as_("auditor")
    found, cursor = [], None
    while len(found) < 1000:
        page = client.get(
            ALERTS, params={"limit": 20, "status": "PENDING"} | ({"cursor": cursor} if cursor else {})
        ).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    ids = [alert["id"] for alert in found]
    assert ids == sorted(set(ids), reverse=True)
    assert set(skus) <= {alert["sku"] for alert in found}
    first = client.get(ALERTS, params={"limit": 1, "status": "PENDING"}).json()
    for query in (f"cursor={first['next_cursor']}", f"cursor={first['next_cursor']}x&status=PENDING", "cursor=%41"):
        assert_problem(client.get(f"{ALERTS}?{query}"), 400, "invalid-cursor")


def listed(shop: Shop, path: str, limit: int = 500) -> list[tuple[int, str]]:
    found, cursor = [], None
    while True:
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = shop.as_("auditor").get(path, params=query).json()
        found += [(item["available"], item["sku"]) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_a_reserve_is_seen_at_once(one_shop: Shop) -> None:
    sku = one_shop.sku(12, threshold=10, safety=1)
    assert sku not in {name for _, name in listed(one_shop, LOW)}
    for _ in range(20):
        held = one_shop.reserve(sku, 2)
        assert (9, sku) in listed(one_shop, LOW)
        rest = one_shop.reserve(sku, 9)
        assert sku not in {name for _, name in listed(one_shop, LOW)}
        assert (0, sku) in listed(one_shop, OUT)
        for one in (held, rest):
            one_shop.as_("storefront").delete(f"/inventory/reserve/{one['id']}").raise_for_status()
        assert sku not in {name for path in (LOW, OUT) for _, name in listed(one_shop, path)}


def test_lists_in_pages_lowest_first(one_shop: Shop) -> None:
    skus = {one_shop.sku(stock, threshold=10): stock for stock in (3, 1, 9, 3, 10, 11)}
    found = listed(one_shop, LOW, limit=2)
    assert found == sorted(found)
    assert {name: stock for stock, name in found if name in skus} == {n: s for n, s in skus.items() if s < 10}
    assert found == listed(one_shop, LOW)
    cursor = one_shop.as_("auditor").get(LOW, params={"limit": 1}).json()["next_cursor"]
    assert_problem(one_shop.as_("auditor").get(OUT, params={"cursor": cursor}), 400, "invalid-cursor")


def test_a_ledger_that_stands_still_does_not_make_the_lists_wrong(make_service: Callable[..., RunningService]) -> None:
    running = make_service()
    shop = Shop(running, "protocol")
    sku, other = shop.sku(12, threshold=10), shop.sku(3, threshold=10)
    assert listed(shop, LOW) == [(3, other)]
    # Out because of the highest setting that any product here has.
    kept = shop.sku(30, safety=30)
    assert listed(shop, OUT) == [(0, kept)]
    running.stop_flusher()
    held = shop.reserve(sku, 4)
    assert listed(shop, LOW, limit=1) == [(3, other), (8, sku)]
    shop.reserve(sku, 8)
    assert listed(shop, OUT) == sorted([(0, sku), (0, kept)])
    running.start_flusher()
    shop.as_("storefront").delete(f"/inventory/reserve/{held['id']}").raise_for_status()
    assert listed(shop, LOW) == [(3, other), (4, sku)]
    shop.close()
