"""POST /inventory/orders: created confirms all, cancelled puts back, both as often as they are reported."""

from __future__ import annotations

import asyncio
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

import inventory.orders
from engine import Configure
from engine.errors import OutcomeUnknown
from persistence.queries import order_dead_letters, orders
from tests.http.conftest import Shop, assert_problem
from tests.waiting import wait_until

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


@pytest.mark.parametrize(
    ("reason", "kept"), [("no", "no"), (" x ", "x"), ("  ", "order cancelled"), ("", "order cancelled")]
)
def test_a_customers_reason_is_as_short_as_it_is(one_shop: Shop, reason: str, kept: str) -> None:
    sku, order = one_shop.sku(5), fresh()
    client = one_shop.as_("storefront")
    client.post(ORDERS, json=created(order, one_shop.reserve(sku))).raise_for_status()
    answer = client.post(ORDERS, json=cancelled(order, reason=reason))
    assert [row["reason"] for row in answer.json()["transactions"]] == [kept]


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
        {"type": "order.cancelled", "order_id": "o", "reason": "x" * 501},
        {"type": "order.cancelled", "order_id": "o", "reason": "a\x00b"},
    ],
    ids=lambda body: str(body)[:60],
)
def test_bodies_that_are_refused(one_shop: Shop, body: dict[str, object]) -> None:
    assert_problem(one_shop.as_("storefront").post(ORDERS, json=body), 422, "validation-error")


def forget(shop: Shop, *held: dict[str, Any]) -> None:
    """What time does: the records of these reservations age out of Redis, once Postgres has them as they are."""
    seq = shop.journal_seq()
    wait_until(lambda: shop.running.services.watermark.position(0) >= (1, seq))
    with redis.Redis.from_url(shop.running.redis_url) as client:
        for one in held:
            assert client.delete(f"{{h00}}:r:{one['id'][:24]}") == 1


def test_some_sold_long_ago_and_some_still_held(one_shop: Shop) -> None:
    a, b, order = one_shop.sku(5), one_shop.sku(5), fresh()
    old, held = one_shop.reserve(a, 2), one_shop.reserve(b, 1)
    client = one_shop.as_("storefront")
    client.post(ORDERS, json=created(order, old)).raise_for_status()
    forget(one_shop, old)
    answer = client.post(ORDERS, json=created(order, held, old))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [(one["id"], one["status"]) for one in body["reservations"]] == [
        (held["id"], "COMPLETED"),
        (old["id"], "COMPLETED"),
    ]
    assert {(t["sku"], t["quantity"]) for t in body["transactions"]} == {(a, -2), (b, -1)}
    forget(one_shop, held)
    again = client.post(ORDERS, json=created(order, held, old)).json()
    assert again["transactions"] == body["transactions"]
    assert (one_shop.level(a), one_shop.level(b)) == ((3, 0), (4, 0))


def test_long_ago_something_else_became_of_one(one_shop: Shop) -> None:
    sku = one_shop.sku(9)
    client = one_shop.as_("storefront")
    released, elsewhere, held = (one_shop.reserve(sku, 1) for _ in range(3))
    client.delete(f"/inventory/reserve/{released['id']}").raise_for_status()
    client.post(ORDERS, json=created(fresh(), elsewhere)).raise_for_status()
    forget(one_shop, released, elsewhere)
    assert_problem(client.post(ORDERS, json=created(fresh(), held, released)), 409, "reservation-not-active")
    assert_problem(client.post(ORDERS, json=created(fresh(), held, elsewhere)), 409, "reservation-not-active")
    never = {"id": "0" * 36}
    assert_problem(client.post(ORDERS, json=created(fresh(), held, elsewhere, never)), 409, "reservation-not-active")
    assert_problem(client.post(ORDERS, json=created(fresh(), held, never, elsewhere)), 404, "unknown-reservation")
    assert one_shop.level(sku) == (8, 1)


def test_nothing_is_sold_to_a_cancelled_order(one_shop: Shop) -> None:
    sku, order = one_shop.sku(5), fresh()
    first, second = one_shop.reserve(sku, 1), one_shop.reserve(sku, 1)
    client = one_shop.as_("storefront")
    sold = client.post(ORDERS, json=created(order, first)).json()
    client.post(ORDERS, json=cancelled(order)).raise_for_status()
    assert_problem(client.post(ORDERS, json=created(order, second)), 409, "order-cancelled")
    # A repeat of what was said before is still answered as before.
    assert client.post(ORDERS, json=created(order, first)).json() == sold
    assert one_shop.level(sku) == (5, 1)


@pytest.mark.parametrize("crash", ["before_the_second", "after_the_second"])
def test_a_large_cancellation_is_completed_by_a_repeat(
    one_shop: Shop, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    name, order = f"L-{uuid.uuid4().hex[:8]}", fresh()
    skus = [f"{name}-{number}" for number in range(2_100)]
    engine = one_shop.running.services.engine
    one_shop.running.run(lambda: engine.apply([Configure(sku, 0, 0, True, 5, "tests") for sku in skus]))
    client = one_shop.as_("storefront")
    held = []
    for some in (skus[:1_050], skus[1_050:]):
        body = {"customer_id": "ann", "lines": [{"sku": sku, "quantity": 2} for sku in some]}
        held.append(client.post("/inventory/reserve", json=body).json())
    client.post(ORDERS, json=created(order, *held)).raise_for_status()

    put_back, calls = inventory.orders._put_back, []

    async def crashing(*arguments: Any) -> None:
        calls.append(arguments)
        if crash == "before_the_second" and len(calls) == 2:
            raise OutcomeUnknown
        await put_back(*arguments)
        if crash == "after_the_second" and len(calls) == 2:
            raise OutcomeUnknown

    monkeypatch.setattr(inventory.orders, "_put_back", crashing)
    assert_problem(client.post(ORDERS, json=cancelled(order)), 503, "outcome-unknown")
    answer = client.post(ORDERS, json=cancelled(order, reason="told again"))
    assert answer.json()["status"] == "CANCELLED"
    assert sorted((t["sku"], t["quantity"]) for t in answer.json()["transactions"]) == sorted((sku, 2) for sku in skus)
    assert client.post(ORDERS, json=cancelled(order)).json() == answer.json()
    levels = one_shop.running.run(lambda: engine.stock_levels(skus))
    assert {(level.on_hand, level.reserved) for level in levels} == {(5, 0)}


def test_cancelled_by_many_at_once(one_shop: Shop) -> None:
    sku, order = one_shop.sku(9), fresh()
    client = one_shop.as_("storefront")
    client.post(ORDERS, json=created(order, one_shop.reserve(sku, 4))).raise_for_status()
    with ThreadPoolExecutor(12) as callers:
        answers = list(callers.map(lambda _: client.post(ORDERS, json=cancelled(order)), range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert one_shop.level(sku) == (9, 0)


def test_created_races_cancelled(one_shop: Shop) -> None:
    """Whoever comes first: nothing of the order stays sold once it is cancelled, and nothing is put back twice."""
    sku = one_shop.sku(100)
    client = one_shop.as_("storefront")
    for _ in range(8):
        order = fresh()
        first, second = one_shop.reserve(sku, 1), one_shop.reserve(sku, 2)
        client.post(ORDERS, json=created(order, first)).raise_for_status()
        with ThreadPoolExecutor(2) as callers:
            adding = callers.submit(client.post, ORDERS, json=created(order, second))
            cancelling = callers.submit(client.post, ORDERS, json=cancelled(order))
        assert cancelling.result().status_code == 200
        if adding.result().status_code != 200:
            assert_problem(adding.result(), 409, "order-cancelled")
        client.delete(f"/inventory/reserve/{second['id']}")
        assert one_shop.level(sku) == (100, 0)


@pytest.mark.parametrize("step", ["_sell", "_put_back"])
def test_the_other_comes_in_the_middle(one_shop: Shop, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """An order is cancelled between a sale's look and its change; an order grows between a cancellation's."""
    sku, order = one_shop.sku(100), fresh()
    first, second = one_shop.reserve(sku, 1), one_shop.reserve(sku, 2)
    client = one_shop.as_("storefront")
    client.post(ORDERS, json=created(order, first)).raise_for_status()
    here, other = created(order, second), cancelled(order)
    if step == "_put_back":
        here, other = other, here
    real, others = getattr(inventory.orders, step), []

    async def interrupted(*arguments: Any) -> Any:
        if not others:
            others.append("on its way")
            others.append(await asyncio.to_thread(client.post, ORDERS, json=other))
        return await real(*arguments)

    monkeypatch.setattr(inventory.orders, step, interrupted)
    answer = client.post(ORDERS, json=here)
    assert others[1].status_code == 200, others[1].text
    if step == "_sell":
        assert_problem(answer, 409, "order-cancelled")
    else:
        assert [row["quantity"] for row in answer.json()["transactions"]] == [1, 2]
    assert one_shop.level(sku) == (100, 0)


def test_a_change_that_was_still_on_its_way_counts_once(one_shop: Shop) -> None:
    """Two cancellations that have both seen the same ledger, as when the first died with its command sent."""
    sku, order = one_shop.sku(9), fresh()
    client = one_shop.as_("storefront")
    client.post(ORDERS, json=created(order, one_shop.reserve(sku, 4))).raise_for_status()
    services = one_shop.running.services
    ledger = one_shop.running.run(lambda: orders.ledger_of(services.database, order))
    for _ in range(2):
        one_shop.running.run(lambda: inventory.orders._put_back(services.inventory, "storefront", ledger, "twice"))
    assert one_shop.level(sku) == (9, 0)
    assert [row["quantity"] for row in client.post(ORDERS, json=cancelled(order)).json()["transactions"]] == [4]


def test_dead_letters_are_listed_and_retried(one_shop: Shop) -> None:
    sku, order = one_shop.sku(5), fresh()
    held = one_shop.reserve(sku, 2)
    body = json.dumps(created(order, held)).encode()

    def set_aside(stream_id: str, raw: bytes, **more: Any) -> None:
        database = one_shop.running.services.database
        given = {"stream": "s", "stream_id": stream_id, "body": raw, "order_id": None, "detail": "", **more}
        one_shop.running.run(lambda: order_dead_letters.put(database, **given))

    set_aside(f"{order}-1", body, code="store-unavailable", order_id=order)
    set_aside(f"{order}-2", b"\xff\x00{", code="malformed-json")
    reader, operator = one_shop.as_("auditor"), one_shop.as_("operator")
    path = f"{ORDERS}/dead-letters"
    bad, good = reader.get(path, params={"limit": 2}).json()["items"]
    assert (good["stream_id"], good["body"], good["status"], good["attempts"]) == (
        f"{order}-1",
        body.decode(),
        "PENDING",
        1,
    )
    assert bad["body"] == "\\xff\x00{"

    done = operator.post(f"{path}/{good['id']}/retry")
    assert done.json()["status"] == "COMPLETED"
    assert {row["created_by"] for row in done.json()["transactions"]} == {"operator"}
    assert operator.post(f"{path}/{good['id']}/retry").json()["transactions"] == done.json()["transactions"]
    assert_problem(operator.post(f"{path}/{bad['id']}/retry"), 400, "malformed-json")
    bad, good = reader.get(path, params={"limit": 2}).json()["items"]
    assert (good["status"], good["resolved_by"], good["attempts"]) == ("RESOLVED", "operator", 2)
    assert (bad["status"], bad["resolved_by"], bad["attempts"]) == ("PENDING", None, 2)
    assert one_shop.level(sku) == (3, 0)

    page = reader.get(path, params={"limit": 1, "status": "PENDING"}).json()
    assert [one["id"] for one in page["items"]] == [bad["id"]]
    resolved = reader.get(path, params={"status": "RESOLVED", "limit": 1}).json()
    assert [one["id"] for one in resolved["items"]] == [good["id"]]
    cursor = reader.get(path, params={"limit": 1}).json()["next_cursor"]
    assert reader.get(path, params={"limit": 1, "cursor": cursor}).json()["items"] == [good]
    assert_problem(reader.get(path, params={"limit": 1, "cursor": cursor, "status": "PENDING"}), 400, "invalid-cursor")
    assert_problem(reader.get(path, params={"status": "LOST"}), 422, "validation-error")
    assert_problem(operator.post(f"{path}/{2**62}/retry"), 404, "unknown-dead-letter")
    for wrong in ("0", "-1", "x", str(2**64)):
        assert_problem(operator.post(f"{path}/{wrong}/retry"), 422, "validation-error")

    # Retention forgets what was resolved long ago, never what still waits for somebody.
    database = one_shop.running.services.database
    forget_before = lambda moment: one_shop.running.run(  # noqa: E731
        lambda: order_dead_letters.forget(database, moment, 10)
    )
    assert forget_before(datetime.now(UTC) - timedelta(minutes=5)) == 0
    assert forget_before(datetime.now(UTC) + timedelta(minutes=5)) == 1
    assert [one["id"] for one in reader.get(path).json()["items"]] == [bad["id"]]
