"""POST /inventory/orders: created confirms all, cancelled puts back, both as often as they are reported."""

from __future__ import annotations

import uuid

import pytest

from tests.http.conftest import Shop, assert_problem

ORDERS = "/inventory/orders"


def created(order: str, *held: dict[str, object]) -> dict[str, object]:
    return {"type": "order.created", "order_id": order, "reservation_ids": [one["id"] for one in held]}


def cancelled(order: str, **more: object) -> dict[str, object]:
    return {"type": "order.cancelled", "order_id": order, "reason": "changed her mind", **more}


def fresh() -> str:
    return f"o-{uuid.uuid4().hex[:12]}"


def test_created_confirms_all_of_them(one_shop: Shop) -> None:
    a, b, order = one_shop.sku(5), one_shop.sku(5), fresh()
    held = [one_shop.reserve(a, 2), one_shop.reserve(b, 1)]
    client = one_shop.as_("storefront")
    answer = client.post(ORDERS, json=created(order, *held))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["order_id"], body["status"]) == (order, "COMPLETED")
    assert [(r["id"], r["status"], r["order_id"]) for r in body["reservations"]] == [
        (one["id"], "COMPLETED", order) for one in held
    ]
    assert [(t["sku"], t["transaction_type"], t["quantity"], t["reference_id"]) for t in body["transactions"]] == [
        (a, "OUT", -2, order),
        (b, "OUT", -1, order),
    ]
    assert client.post(ORDERS, json=created(order, *held)).json() == body
    assert (one_shop.level(a), one_shop.level(b)) == ((3, 0), (4, 0))


def test_all_or_none(one_shop: Shop) -> None:
    a, b = one_shop.sku(5), one_shop.sku(5)
    good, released = one_shop.reserve(a, 2), one_shop.reserve(b, 1)
    client = one_shop.as_("storefront")
    client.delete(f"/inventory/reserve/{released['id']}").raise_for_status()
    answer = client.post(ORDERS, json=created(fresh(), good, released))
    assert assert_problem(answer, 409, "reservation-not-active")["reservation"]["id"] == released["id"]
    never = {"id": "0" * 36}
    assert_problem(client.post(ORDERS, json=created(fresh(), good, never)), 404, "unknown-reservation")
    assert_problem(client.post(ORDERS, json=created(fresh(), good, {"id": "nonsense"})), 404, "unknown-reservation")
    theirs = one_shop.reserve(a, 1, who="other-storefront")
    assert_problem(client.post(ORDERS, json=created(fresh(), good, theirs)), 404, "unknown-reservation")
    assert one_shop.level(a) == (5, 3)


def test_the_same_reservation_twice_counts_once(one_shop: Shop) -> None:
    sku = one_shop.sku(5)
    held = one_shop.reserve(sku, 2)
    answer = one_shop.as_("storefront").post(ORDERS, json=created(fresh(), held, held))
    assert len(answer.json()["reservations"]) == 1
    assert one_shop.level(sku) == (3, 0)


def test_sold_to_another_order(one_shop: Shop) -> None:
    held = one_shop.reserve(one_shop.sku(5), 2)
    client = one_shop.as_("storefront")
    client.post(ORDERS, json=created(fresh(), held)).raise_for_status()
    assert_problem(client.post(ORDERS, json=created(fresh(), held)), 409, "reservation-not-active")


def test_cancelled_puts_the_units_back_once(one_shop: Shop) -> None:
    a, b, order = one_shop.sku(5), one_shop.sku(5), fresh()
    held = [one_shop.reserve(a, 2), one_shop.reserve(b, 1)]
    client = one_shop.as_("storefront")
    client.post(ORDERS, json=created(order, *held)).raise_for_status()
    answer = client.post(ORDERS, json=cancelled(order))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["order_id"], body["status"]) == (order, "CANCELLED")
    assert {one["id"] for one in body["reservations"]} == {one["id"] for one in held}
    assert sorted((t["sku"], t["transaction_type"], t["quantity"]) for t in body["transactions"]) == sorted(
        [(a, "IN", 2), (b, "IN", 1)]
    )
    assert {t["reason"] for t in body["transactions"]} == {"changed her mind"}
    assert (one_shop.level(a), one_shop.level(b)) == ((5, 0), (5, 0))
    again = client.post(ORDERS, json=cancelled(order, reason="told twice"))
    assert again.json() == body
    assert (one_shop.level(a), one_shop.level(b)) == ((5, 0), (5, 0))


def test_what_was_returned_is_not_put_back_again(one_shop: Shop) -> None:
    sku, order = one_shop.sku(5), fresh()
    held = one_shop.reserve(sku, 3)
    client = one_shop.as_("admin")
    client.post(ORDERS, json=created(order, held)).raise_for_status()
    items = [{"sku": sku, "quantity": 1}]
    body = {"order_id": order, "items": items, "reason": "one was broken"}
    client.post("/inventory/return", json=body).raise_for_status()
    (row,) = client.post(ORDERS, json=cancelled(order)).json()["transactions"]
    assert row["quantity"] == 2
    assert one_shop.level(sku) == (5, 0)


def test_cancelled_without_a_reason(one_shop: Shop) -> None:
    sku, order = one_shop.sku(5), fresh()
    client = one_shop.as_("storefront")
    client.post(ORDERS, json=created(order, one_shop.reserve(sku))).raise_for_status()
    answer = client.post(ORDERS, json={"type": "order.cancelled", "order_id": order})
    assert answer.json()["status"] == "CANCELLED"


def test_orders_nobody_knows(one_shop: Shop) -> None:
    client = one_shop.as_("storefront")
    assert_problem(client.post(ORDERS, json=cancelled(fresh())), 404, "unknown-order")
    order = fresh()
    held = one_shop.reserve(one_shop.sku(5), who="other-storefront")
    one_shop.as_("other-storefront").post(ORDERS, json=created(order, held)).raise_for_status()
    assert_problem(client.post(ORDERS, json=cancelled(order)), 404, "unknown-order")
    assert one_shop.as_("admin").post(ORDERS, json=cancelled(order)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "order.shipped", "order_id": "o"},
        {"type": "order.created", "order_id": "o"},
        {"type": "order.created", "order_id": "o", "reservation_ids": []},
        {"type": "order.created", "order_id": "", "reservation_ids": ["0" * 36]},
        {"type": "order.created", "order_id": "a\x00", "reservation_ids": ["0" * 36]},
        {"type": "order.created", "order_id": "o", "reservation_ids": ["0" * 36] * 1001},
        {"type": "order.created", "order_id": "o", "reservation_ids": ["0" * 36], "reason": "x"},
        {"type": "order.cancelled", "order_id": "o", "reason": "x"},
    ],
    ids=lambda body: str(body)[:60],
)
def test_bodies_that_are_refused(one_shop: Shop, body: dict[str, object]) -> None:
    assert_problem(one_shop.as_("storefront").post(ORDERS, json=body), 422, "validation-error")
