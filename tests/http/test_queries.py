"""Transactions and reservations: every filter, cursors, and what a cursor must not do."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.http.conftest import Shop, assert_problem
from tests.waiting import wait_until

TRANSACTIONS, RESERVATIONS = "/inventory/transactions", "/inventory/reservations"


@pytest.fixture
def sku(one_shop: Shop) -> str:
    """Five rows: IN 10 (operator), ADJUSTMENT -1, DAMAGE -1, OUT -2 (storefront), RETURN 1."""
    sku, order = one_shop.sku(0), f"o-{uuid.uuid4().hex[:8]}"
    client = one_shop.as_("operator")
    for path, body in (
        ("adjust", {"sku": sku, "kind": "receive", "quantity": 10, "reason": "delivery", "reference": sku}),
        ("adjust", {"sku": sku, "kind": "remove", "quantity": 1, "reason": "sample"}),
        ("damage", {"sku": sku, "quantity": 1, "reason": "dropped"}),
    ):
        client.post(f"/inventory/{path}", json=body).raise_for_status()
    held = one_shop.reserve(sku, 2)
    body = {"type": "order.created", "order_id": order, "reservation_ids": [held["id"]]}
    one_shop.as_("storefront").post("/inventory/orders", json=body).raise_for_status()
    body = {"order_id": order, "items": [{"sku": sku, "quantity": 1}], "reason": "wrong size"}
    client.post("/inventory/return", json=body).raise_for_status()
    return sku


def test_newest_first_and_each_row_follows_the_one_before(one_shop: Shop, sku: str) -> None:
    rows = one_shop.as_("auditor").get(f"{TRANSACTIONS}/{sku}").json()["items"]
    assert [row["transaction_type"] for row in rows] == ["RETURN", "OUT", "DAMAGE", "ADJUSTMENT", "IN"]
    oldest_first = rows[::-1]
    for before, after in pairwise(oldest_first):
        assert before["new_stock"] == after["previous_stock"]
        assert before["seq"] < after["seq"]
    assert sum(row["quantity"] for row in rows) == one_shop.level(sku)[0] == 7


def test_every_filter(one_shop: Shop, sku: str) -> None:
    client = one_shop.as_("auditor")

    def types(path: str = f"{TRANSACTIONS}/{sku}", **filters: str) -> list[str]:
        rows = client.get(path, params=filters).json()["items"]
        return [row["transaction_type"] for row in rows]

    order = client.get(f"{TRANSACTIONS}/{sku}", params={"type": "OUT"}).json()["items"][0]["reference_id"]
    assert types(type="DAMAGE") == ["DAMAGE"]
    assert types(reference_type="Order") == ["RETURN", "OUT"]
    assert types(TRANSACTIONS, reference_id=order) == ["RETURN", "OUT"]
    assert types(TRANSACTIONS, reference_id=sku) == ["IN"]
    assert types(created_by="storefront") == ["OUT"]
    assert types(type="OUT", created_by="operator") == []
    rows = client.get(f"{TRANSACTIONS}/{sku}").json()["items"]
    moment = datetime.fromisoformat(rows[1]["created_at"])
    later = (moment + timedelta(hours=1)).isoformat()
    assert types(**{"from": later}) == []
    assert len(types(to=later)) == 5
    assert len(types(**{"from": (moment - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"), "to": later})) == 5


@pytest.mark.parametrize(
    "query",
    [
        "type=GIFT",
        "limit=0",
        "limit=501",
        "limit=1000000000",
        "limit=abc",
        "limit=-1",
        "from=yesterday",
        "to=2026-13-01T00:00:00Z",
        "from=9999999999999",
        "reference_id=a%00b",
        "created_by=" + "x" * 256,
    ],
)
def test_filters_that_are_refused(one_shop: Shop, query: str) -> None:
    for path in (TRANSACTIONS, f"{TRANSACTIONS}/A"):
        assert_problem(one_shop.as_("auditor").get(f"{path}?{query}"), 422, "validation-error")


def test_pages_fit_together(one_shop: Shop, sku: str) -> None:
    client = one_shop.as_("auditor")
    whole = client.get(f"{TRANSACTIONS}/{sku}").json()["items"]
    found, cursor, pages = [], None, 0
    while True:
        page = client.get(f"{TRANSACTIONS}/{sku}", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += page["items"]
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == whole
    assert pages == 3


def test_cursors_that_were_not_given_out(one_shop: Shop, sku: str) -> None:
    client = one_shop.as_("auditor")
    cursor = client.get(f"{TRANSACTIONS}/{sku}", params={"limit": 2}).json()["next_cursor"]
    flipped = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    for wrong in ("", "x", "0", "!!!", cursor[:-1], cursor + "A", flipped, "a" * 1000, "' OR 1=1 --", "é"):
        for path in (f"{TRANSACTIONS}/{sku}", RESERVATIONS, "/inventory/products", "/inventory/low-stock"):
            assert_problem(client.get(path, params={"cursor": wrong}), 400, "invalid-cursor")
    for path in (TRANSACTIONS, f"{TRANSACTIONS}/OTHER", RESERVATIONS):
        assert_problem(client.get(path, params={"cursor": cursor}), 400, "invalid-cursor")
    assert_problem(client.get(f"{TRANSACTIONS}/{sku}", params={"cursor": cursor, "type": "IN"}), 400, "invalid-cursor")


def test_reservations_by_every_filter(one_shop: Shop) -> None:
    sku, customer, order = one_shop.sku(9), uuid.uuid4().hex, f"o-{uuid.uuid4().hex[:8]}"
    held = [one_shop.reserve(sku, 1, customer_id=customer, ttl_seconds=60) for _ in range(3)]
    client = one_shop.as_("storefront")
    client.delete(f"/inventory/reserve/{held[0]['id']}").raise_for_status()
    body = {"order_id": order}
    client.post(
        f"/inventory/reserve/{held[1]['id']}/confirm", json=body, headers={"holdfast-durability": "ledger"}
    ).raise_for_status()

    def ids(**filters: str) -> list[str]:
        items = one_shop.as_("auditor").get(RESERVATIONS, params=filters).json()["items"]
        return [item["id"] for item in items]

    every = [one["id"] for one in held[::-1]]
    wait_until(lambda: ids(customer_id=customer) == every, what="the ledger to have all three")
    assert ids(sku=sku) == every
    assert ids(order_id=order) == [held[1]["id"]]
    assert ids(customer_id=customer, status="ACTIVE") == [held[2]["id"]]
    assert ids(customer_id=customer, status="CANCELLED") == [held[0]["id"]]
    assert ids(sku=sku, status="COMPLETED") == [held[1]["id"]]
    assert ids(customer_id="nobody") == []
    (shown,) = one_shop.as_("auditor").get(RESERVATIONS, params={"order_id": order}).json()["items"]
    assert shown == client.get(f"/inventory/reserve/{held[1]['id']}").json()


@pytest.mark.parametrize("query", ["status=GONE", "limit=0", "customer_id=a%00", "sku=a%0Ab", "order_id=" + "x" * 256])
def test_reservation_filters_that_are_refused(one_shop: Shop, query: str) -> None:
    assert_problem(one_shop.as_("auditor").get(f"{RESERVATIONS}?{query}"), 422, "validation-error")
