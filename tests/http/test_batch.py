"""POST /inventory/reserve/batch, over both adapters."""

from __future__ import annotations

import uuid

from tests.http.conftest import Shop, assert_problem

BATCH = "/inventory/reserve/batch"


def test_each_item_has_its_own_answer_in_order(shop: Shop) -> None:
    sku = shop.sku(3)
    key = uuid.uuid4().hex
    items = [
        {"customer_id": "ann", "sku": sku, "quantity": 2, "idempotency_key": key},
        {"customer_id": "bob", "sku": sku, "quantity": 2},
        {"customer_id": "ann", "sku": sku, "quantity": 2, "idempotency_key": key},
        {"customer_id": "ann", "sku": sku, "quantity": 1, "idempotency_key": key},
        {"customer_id": "eve", "sku": "NOPE", "quantity": 1},
        {"customer_id": "eve", "sku": sku, "quantity": 0},
        {"customer_id": "eve", "sku": sku, "quantity": 1, "idempotency_key": ""},
        {"customer_id": "eve", "sku": sku, "quantity": 1, "colour": "red"},
        {"customer_id": "cat", "lines": [{"sku": sku, "quantity": 1}]},
    ]
    answer = shop.as_("storefront").post(BATCH, json={"reservations": items})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201, 409, 201, 422, 404, 422, 400, 422, 201]
    assert results[0]["reservation"] == results[2]["reservation"]
    assert results[2]["replayed"] is True
    assert "replayed" not in results[0]
    assert [r["problem"]["code"] for r in results if "problem" in r] == [
        "insufficient-stock",
        "idempotency-key-reused",
        "unknown-sku",
        "validation-error",
        "invalid-idempotency-key",
        "validation-error",
    ]
    assert results[1]["problem"]["shortages"][0]["available"] == 1
    assert shop.level(sku) == (3, 3)


def test_an_items_key_is_the_same_as_a_reserves(shop: Shop) -> None:
    sku = shop.sku(5)
    key = uuid.uuid4().hex
    body = {"customer_id": "ann", "sku": sku, "quantity": 2}
    single = shop.as_("storefront").post("/inventory/reserve", json=body, headers={"idempotency-key": key})
    batch = shop.as_("storefront").post(BATCH, json={"reservations": [body | {"idempotency_key": key}]})
    assert batch.json()["results"][0]["reservation"] == single.json()


def test_a_thousand_fit_and_one_more_does_not(shop: Shop) -> None:
    sku = shop.sku(2000)
    item = {"customer_id": "ann", "sku": sku, "quantity": 1}
    answer = shop.as_("storefront").post(BATCH, json={"reservations": [item] * 1000})
    assert {result["status"] for result in answer.json()["results"]} == {201}
    assert shop.level(sku) == (2000, 1000)
    answer = shop.as_("storefront").post(BATCH, json={"reservations": [item] * 1001})
    assert_problem(answer, 422, "validation-error")
    assert shop.level(sku) == (2000, 1000)


def test_none_at_all(shop: Shop) -> None:
    assert shop.as_("storefront").post(BATCH, json={"reservations": []}).json() == {"results": []}


def test_a_field_given_twice(shop: Shop) -> None:
    sku = shop.sku()
    item = f'{{"customer_id":"ann","sku":"{sku}","quantity":1}}'
    twice = f'{{"customer_id":"ann","sku":"{sku}","quantity":1,"quantity":2}}'
    headers = {"content-type": "application/json"}
    client = shop.as_("storefront")
    answer = client.post(BATCH, content=f'{{"reservations":[{item},{twice}]}}', headers=headers)
    assert [result["status"] for result in answer.json()["results"]] == [201, 400]
    answer = client.post(BATCH, content=f'{{"reservations":[{item}],"reservations":[{item}]}}', headers=headers)
    assert_problem(answer, 400, "malformed-json")


def test_not_a_list(shop: Shop) -> None:
    for body in ({}, {"reservations": {}}, {"reservations": None}, [], {"reservations": [], "x": 1}):
        assert_problem(shop.as_("storefront").post(BATCH, json=body), 422, "validation-error")
