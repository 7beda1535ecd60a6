"""POST /inventory/reserve, over both adapters."""

from __future__ import annotations

import re
import uuid
from datetime import datetime

import pytest

from tests.http.conftest import Shop, assert_problem

RESERVE = "/inventory/reserve"


def test_one_line(shop: Shop) -> None:
    sku = shop.sku(10)
    answer = shop.as_("storefront").post(
        RESERVE, json={"customer_id": "ann", "sku": sku, "quantity": 2, "cart_id": "cart-1", "ttl_seconds": 90}
    )
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    held = answer.json()
    assert list(held) == [
        "id",
        "status",
        "customer_id",
        "cart_id",
        "order_id",
        "lines",
        "expires_at",
        "expires_in_seconds",
        "created_at",
        "updated_at",
    ]
    assert re.fullmatch("[0-9a-f]{36}", held["id"])
    assert held["status"] == "ACTIVE"
    assert (held["customer_id"], held["cart_id"], held["order_id"]) == ("ann", "cart-1", None)
    assert held["lines"] == [{"sku": sku, "quantity": 2}]
    assert held["expires_in_seconds"] == 90
    assert held["created_at"] == held["updated_at"]
    created, expires = (datetime.fromisoformat(held[name]) for name in ("created_at", "expires_at"))
    assert (expires - created).total_seconds() == 90
    assert shop.level(sku) == (10, 2)


def test_default_time_to_live_is_half_an_hour(shop: Shop) -> None:
    assert shop.reserve(shop.sku())["expires_in_seconds"] == 1800


def test_a_sku_named_twice_is_summed_in_order_of_first_mention(shop: Shop) -> None:
    a, b = shop.sku(10), shop.sku(10)
    lines = [{"sku": b, "quantity": 1}, {"sku": a, "quantity": 2}, {"sku": b, "quantity": 3}]
    answer = shop.as_("storefront").post(RESERVE, json={"customer_id": "ann", "lines": lines})
    assert answer.json()["lines"] == [{"sku": b, "quantity": 4}, {"sku": a, "quantity": 2}]


def test_all_lines_or_none_and_every_shortage_named(shop: Shop) -> None:
    plenty, few, none = shop.sku(10), shop.sku(2), shop.sku(0)
    shop.reserve(few, 1, ttl_seconds=60)  # soon, so that it is among the deadlines looked at
    lines = [{"sku": plenty, "quantity": 1}, {"sku": few, "quantity": 2}, {"sku": none, "quantity": 1}]
    answer = shop.as_("storefront").post(RESERVE, json={"customer_id": "ann", "lines": lines})
    shortages = assert_problem(answer, 409, "insufficient-stock")["shortages"]
    assert [(s["sku"], s["requested"], s["available"]) for s in shortages] == [(few, 2, 1), (none, 1, 0)]
    assert shortages[0]["next_release_at"] is not None
    assert shortages[1]["next_release_at"] is None
    assert shop.level(plenty) == (10, 0)


def test_safety_stock_is_not_sold(shop: Shop) -> None:
    sku = shop.sku(5, safety=4)
    answer = shop.as_("storefront").post(RESERVE, json={"customer_id": "ann", "sku": sku, "quantity": 2})
    assert assert_problem(answer, 409, "insufficient-stock")["shortages"][0]["available"] == 1


def test_unknown_skus_are_all_named(shop: Shop) -> None:
    lines = [{"sku": sku, "quantity": 1} for sku in ("NO-1", shop.sku(), "NO-2")]
    answer = shop.as_("storefront").post(RESERVE, json={"customer_id": "ann", "lines": lines})
    assert assert_problem(answer, 404, "unknown-sku")["skus"] == ["NO-1", "NO-2"]


def test_inactive_product(shop: Shop) -> None:
    sku = shop.sku(5, active=False)
    answer = shop.as_("storefront").post(RESERVE, json={"customer_id": "ann", "sku": sku, "quantity": 1})
    assert assert_problem(answer, 409, "product-inactive")["skus"] == [sku]


def test_partial_gives_what_there_is_and_names_the_rest(shop: Shop) -> None:
    plenty, few, none = shop.sku(10), shop.sku(2), shop.sku(0)
    lines = [{"sku": plenty, "quantity": 3}, {"sku": few, "quantity": 5}, {"sku": none, "quantity": 1}]
    body = {"customer_id": "ann", "lines": lines, "allow_partial": True}
    held = shop.as_("storefront").post(RESERVE, json=body)
    assert held.status_code == 201
    assert held.json()["lines"] == [{"sku": plenty, "quantity": 3}, {"sku": few, "quantity": 2}]
    assert held.json()["shortages"] == [
        {"sku": few, "requested": 5, "available": 2, "next_release_at": None},
        {"sku": none, "requested": 1, "available": 0, "next_release_at": None},
    ]


def test_partial_with_nothing_at_all_is_a_shortage(shop: Shop) -> None:
    body = {"customer_id": "ann", "sku": shop.sku(0), "quantity": 1, "allow_partial": True}
    assert_problem(shop.as_("storefront").post(RESERVE, json=body), 409, "insufficient-stock")


def test_partial_that_was_granted_whole_has_no_shortages(shop: Shop) -> None:
    assert shop.reserve(shop.sku(5), 5, allow_partial=True)["shortages"] == []


class TestIdempotency:
    def test_the_same_request_again_gives_the_same_bytes(self, shop: Shop) -> None:
        sku = shop.sku(10)
        body = {"customer_id": "ann", "sku": sku, "quantity": 2, "ttl_seconds": 60}
        headers = {"idempotency-key": uuid.uuid4().hex}
        client = shop.as_("storefront")
        first = client.post(RESERVE, json=body, headers=headers)
        again = client.post(RESERVE, json=body, headers=headers)
        assert first.status_code == again.status_code == 201
        assert first.content == again.content
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert shop.level(sku) == (10, 2)

    def test_the_first_answer_is_repeated_whatever_has_happened_since(self, shop: Shop) -> None:
        sku = shop.sku(10)
        body = {"customer_id": "ann", "sku": sku, "quantity": 2}
        headers = {"idempotency-key": uuid.uuid4().hex}
        client = shop.as_("storefront")
        first = client.post(RESERVE, json=body, headers=headers)
        path = f"{RESERVE}/{first.json()['id']}"
        client.patch(path, json={"lines": [{"sku": sku, "quantity": 5}], "ttl_seconds": 7}).raise_for_status()
        assert client.post(RESERVE, json=body, headers=headers).content == first.content
        client.post(f"{path}/confirm", json={"order_id": "o-1"}).raise_for_status()
        assert client.post(RESERVE, json=body, headers=headers).content == first.content

    def test_a_partial_grant_is_repeated_with_its_shortages(self, shop: Shop) -> None:
        sku = shop.sku(2)
        body = {"customer_id": "ann", "sku": sku, "quantity": 5, "allow_partial": True}
        headers = {"idempotency-key": uuid.uuid4().hex}
        client = shop.as_("storefront")
        first = client.post(RESERVE, json=body, headers=headers)
        again = client.post(RESERVE, json=body, headers=headers)
        assert first.content == again.content
        assert first.json()["shortages"][0]["requested"] == 5

    @pytest.mark.parametrize(
        "change",
        [{"quantity": 3}, {"customer_id": "bob"}, {"cart_id": "c"}, {"ttl_seconds": 61}, {"allow_partial": True}],
        ids=str,
    )
    def test_another_request_under_the_same_key_is_refused(self, shop: Shop, change: dict[str, object]) -> None:
        body = {"customer_id": "ann", "sku": shop.sku(10), "quantity": 2, "ttl_seconds": 60}
        headers = {"idempotency-key": uuid.uuid4().hex}
        client = shop.as_("storefront")
        client.post(RESERVE, json=body, headers=headers).raise_for_status()
        answer = client.post(RESERVE, json=body | change, headers=headers)
        assert_problem(answer, 422, "idempotency-key-reused")

    def test_the_same_meaning_written_otherwise_is_the_same_request(self, shop: Shop) -> None:
        sku = shop.sku(10)
        headers = {"idempotency-key": uuid.uuid4().hex}
        client = shop.as_("storefront")
        first = client.post(RESERVE, json={"customer_id": "ann", "sku": sku, "quantity": 3}, headers=headers)
        lines = [{"sku": sku, "quantity": 1}, {"sku": sku, "quantity": 2}]
        body = {"ttl_seconds": 1800, "lines": lines, "cart_id": None, "customer_id": "ann", "allow_partial": False}
        assert client.post(RESERVE, json=body, headers=headers).content == first.content

    def test_another_callers_key_is_independent(self, shop: Shop) -> None:
        sku = shop.sku(10)
        body = {"customer_id": "ann", "sku": sku, "quantity": 2}
        headers = {"idempotency-key": uuid.uuid4().hex}
        first = shop.as_("storefront").post(RESERVE, json=body, headers=headers)
        other = shop.as_("other-storefront").post(RESERVE, json=body | {"quantity": 1}, headers=headers)
        assert other.status_code == 201
        assert other.json()["id"] != first.json()["id"]

    def test_a_rejection_is_not_sticky(self, shop: Shop) -> None:
        sku = shop.sku(1)
        hold = shop.reserve(sku, 1)
        body = {"customer_id": "bob", "sku": sku, "quantity": 1}
        headers = {"idempotency-key": uuid.uuid4().hex}
        client = shop.as_("storefront")
        assert_problem(client.post(RESERVE, json=body, headers=headers), 409, "insufficient-stock")
        client.delete(f"{RESERVE}/{hold['id']}").raise_for_status()
        assert client.post(RESERVE, json=body, headers=headers).status_code == 201

    @pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", b"caf\xc3\xa9"], ids=repr)
    def test_a_key_that_is_not_1_to_255_printable_ascii(self, shop: Shop, key: bytes) -> None:
        body = {"customer_id": "ann", "sku": shop.sku(), "quantity": 1}
        answer = shop.as_("storefront").post(RESERVE, json=body, headers={b"idempotency-key": key})
        assert_problem(answer, 400, "invalid-idempotency-key")

    def test_a_key_with_a_character_that_no_header_may_have(self, shop: Shop) -> None:
        body = {"customer_id": "ann", "sku": shop.sku(), "quantity": 1}
        answer = shop.as_("storefront").post(RESERVE, json=body, headers={b"idempotency-key": b"a\x7f"})
        assert answer.status_code == 400  # refused by the HTTP parser, before any of our code

    def test_a_key_of_255_characters(self, shop: Shop) -> None:
        body = {"customer_id": "ann", "sku": shop.sku(), "quantity": 1}
        key = uuid.uuid4().hex.ljust(255, "~")
        answer = shop.as_("storefront").post(RESERVE, json=body, headers={"idempotency-key": key})
        assert answer.status_code == 201


def test_two_thousand_lines_fit_and_one_more_does_not(shop: Shop) -> None:
    skus = [f"MANY-{number:04d}" for number in range(2001)]
    lines = [{"sku": sku, "quantity": 1_000_000_000} for sku in skus]
    body = {"customer_id": "ann", "lines": lines[:2000]}
    answer = shop.as_("storefront").post(RESERVE, json=body)
    assert len(assert_problem(answer, 404, "unknown-sku")["skus"]) == 2000
    answer = shop.as_("storefront").post(RESERVE, json={"customer_id": "ann", "lines": lines})
    assert_problem(answer, 422, "validation-error")


def test_the_request_id_is_echoed_or_made(shop: Shop) -> None:
    client = shop.as_("storefront")
    given = client.get("/inventory/reserve/none", headers={"x-request-id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    ids = {client.get("/inventory/reserve/none").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    long = client.get("/inventory/reserve/none", headers={"x-request-id": "x" * 200})
    assert long.headers["x-request-id"] != "x" * 200
