"""Adjust, damage and return: answered with the ledger's own row."""

from __future__ import annotations

import uuid

import pytest

from tests.http.conftest import Shop, assert_problem

ADJUST, DAMAGE, RETURN = "/inventory/adjust", "/inventory/damage", "/inventory/return"


@pytest.mark.parametrize(
    ("kind", "quantity", "expected_type", "change"),
    [
        ("receive", 5, "IN", 5),
        ("remove", 4, "ADJUSTMENT", -4),
        ("count", 7, "ADJUSTMENT", -3),
        ("count", 0, "ADJUSTMENT", -10),
    ],
)
def test_adjust(one_shop: Shop, kind: str, quantity: int, expected_type: str, change: int) -> None:
    sku = one_shop.sku(10)
    body = {"sku": sku, "kind": kind, "quantity": quantity, "reason": "inventory", "reference": "DN-1"}
    answer = one_shop.as_("operator").post(ADJUST, json=body)
    assert answer.status_code == 201, answer.text
    row = answer.json()
    assert list(row) == [
        "id",
        "sku",
        "transaction_type",
        "quantity",
        "previous_stock",
        "new_stock",
        "reference_type",
        "reference_id",
        "reason",
        "created_by",
        "created_at",
        "partition",
        "seq",
    ]
    assert (row["transaction_type"], row["quantity"]) == (expected_type, change)
    assert (row["previous_stock"], row["new_stock"]) == (10, 10 + change)
    assert (row["reason"], row["reference_id"], row["created_by"]) == ("inventory", "DN-1", "operator")
    assert one_shop.level(sku) == (10 + change, 0)
    assert one_shop.as_("auditor").get(f"/inventory/transactions/{sku}").json()["items"][0] == row


def test_a_count_that_finds_what_was_expected_is_on_record(one_shop: Shop) -> None:
    sku = one_shop.sku(10)
    body = {"sku": sku, "kind": "count", "quantity": 10, "reason": "yearly count"}
    row = one_shop.as_("operator").post(ADJUST, json=body).json()
    assert (row["quantity"], row["previous_stock"], row["new_stock"]) == (0, 10, 10)


def test_what_is_held_cannot_be_taken(one_shop: Shop) -> None:
    sku = one_shop.sku(10)
    one_shop.reserve(sku, 6)
    client = one_shop.as_("operator")
    for path, body in (
        (ADJUST, {"sku": sku, "kind": "remove", "quantity": 5, "reason": "too much"}),
        (ADJUST, {"sku": sku, "kind": "count", "quantity": 5, "reason": "too few"}),
        (DAMAGE, {"sku": sku, "quantity": 5, "reason": "dropped"}),
    ):
        problem = assert_problem(client.post(path, json=body), 409, "insufficient-stock")
        assert problem["shortages"][0]["available"] == 4
    assert one_shop.level(sku) == (10, 6)


def test_damage(one_shop: Shop) -> None:
    sku = one_shop.sku(10)
    answer = one_shop.as_("operator").post(DAMAGE, json={"sku": sku, "quantity": 3, "reason": "dropped"})
    assert answer.status_code == 201
    assert (answer.json()["transaction_type"], answer.json()["quantity"]) == ("DAMAGE", -3)
    assert one_shop.level(sku) == (7, 0)


def test_return(one_shop: Shop) -> None:
    a, b = one_shop.sku(1), one_shop.sku(2)
    items = [{"sku": a, "quantity": 1}, {"sku": b, "quantity": 2}, {"sku": a, "quantity": 1}]
    body = {"order_id": "o-5", "items": items, "reason": "wrong size"}
    answer = one_shop.as_("operator").post(RETURN, json=body)
    assert answer.status_code == 201
    rows = answer.json()["transactions"]
    assert [(row["sku"], row["transaction_type"], row["quantity"]) for row in rows] == [
        (a, "RETURN", 2),
        (b, "RETURN", 2),
    ]
    assert {(row["reference_type"], row["reference_id"]) for row in rows} == {("ExternalOrder", "o-5")}
    assert (one_shop.level(a), one_shop.level(b)) == ((3, 0), (4, 0))


def test_all_of_a_return_or_nothing(one_shop: Shop) -> None:
    sku = one_shop.sku(1)
    items = [{"sku": sku, "quantity": 1}, {"sku": "NOPE", "quantity": 1}]
    answer = one_shop.as_("operator").post(RETURN, json={"order_id": "o", "items": items, "reason": "returned"})
    assert assert_problem(answer, 404, "unknown-sku")["skus"] == ["NOPE"]
    assert one_shop.level(sku) == (1, 0)


class TestIdempotency:
    @pytest.mark.parametrize("path", [ADJUST, DAMAGE, RETURN])
    def test_the_same_request_again_gives_the_same_row(self, one_shop: Shop, path: str) -> None:
        sku = one_shop.sku(10)
        body: dict[str, object] = {
            ADJUST: {"sku": sku, "kind": "receive", "quantity": 5, "reason": "delivery"},
            DAMAGE: {"sku": sku, "quantity": 5, "reason": "dropped"},
            RETURN: {"order_id": "o", "items": [{"sku": sku, "quantity": 5}], "reason": "returned"},
        }[path]
        headers = {"idempotency-key": uuid.uuid4().hex}
        client = one_shop.as_("operator")
        first = client.post(path, json=body, headers=headers)
        level = one_shop.level(sku)
        again = client.post(path, json=body, headers=headers)
        assert first.status_code == again.status_code == 201
        assert first.content == again.content
        assert one_shop.level(sku) == level
        other = client.post(path, json={**body, "reason": "another reason"}, headers=headers)
        assert_problem(other, 422, "idempotency-key-reused")

    def test_the_verbs_share_one_space_of_keys(self, one_shop: Shop) -> None:
        sku = one_shop.sku(10)
        headers = {"idempotency-key": uuid.uuid4().hex}
        client = one_shop.as_("operator")
        client.post(DAMAGE, json={"sku": sku, "quantity": 1, "reason": "dropped"}, headers=headers).raise_for_status()
        body = {"sku": sku, "kind": "remove", "quantity": 1, "reason": "dropped"}
        assert_problem(client.post(ADJUST, json=body, headers=headers), 422, "idempotency-key-reused")

    def test_without_a_key_each_is_its_own(self, one_shop: Shop) -> None:
        sku = one_shop.sku(10)
        body = {"sku": sku, "quantity": 1, "reason": "dropped"}
        ids = {one_shop.as_("operator").post(DAMAGE, json=body).json()["id"] for _ in range(2)}
        assert len(ids) == 2
        assert one_shop.level(sku) == (8, 0)

    def test_bad_keys(self, one_shop: Shop) -> None:
        body = {"sku": one_shop.sku(10), "quantity": 1, "reason": "dropped"}
        for key in (b"", b"x" * 256, b"caf\xc3\xa9"):
            answer = one_shop.as_("operator").post(DAMAGE, json=body, headers={b"idempotency-key": key})
            assert_problem(answer, 400, "invalid-idempotency-key")


@pytest.mark.parametrize("reason", [None, "", "ab", "    ", "x" * 501, "a\x00bc", 5])
def test_a_reason_is_needed(one_shop: Shop, reason: object) -> None:
    sku = one_shop.sku(10)
    more = {} if reason is None else {"reason": reason}
    client = one_shop.as_("operator")
    for path, body in (
        (ADJUST, {"sku": sku, "kind": "receive", "quantity": 1}),
        (DAMAGE, {"sku": sku, "quantity": 1}),
        (RETURN, {"order_id": "o", "items": [{"sku": sku, "quantity": 1}]}),
    ):
        assert_problem(client.post(path, json={**body, **more}), 422, "validation-error")
    assert one_shop.level(sku) == (10, 0)


def test_unknown_skus_and_limits(one_shop: Shop) -> None:
    client = one_shop.as_("operator")
    body = {"sku": "NOPE", "kind": "receive", "quantity": 1, "reason": "delivery"}
    assert assert_problem(client.post(ADJUST, json=body), 404, "unknown-sku")["skus"] == ["NOPE"]
    sku = one_shop.sku(0)
    for kind, quantity in (("receive", 0), ("receive", 10**9 + 1), ("remove", 0), ("count", -1), ("count", 10**12 + 1)):
        body = {"sku": sku, "kind": kind, "quantity": quantity, "reason": "delivery"}
        assert_problem(client.post(ADJUST, json=body), 422, "validation-error")
    body = {"sku": sku, "kind": "count", "quantity": 10**12, "reason": "a very large shelf"}
    pending = client.post(ADJUST, json=body).json()["approval"]
    one_shop.as_("manager").post(f"/inventory/approvals/{pending['id']}/approve").raise_for_status()
    assert one_shop.level(sku) == (10**12, 0)
    body = {"sku": sku, "kind": "receive", "quantity": 1, "reason": "one too many"}
    assert_problem(client.post(ADJUST, json=body), 409, "stock-limit")
