"""Approvals over HTTP: 202 with the approval, the decisions, and every way they are refused."""

from __future__ import annotations

import uuid

import pytest

from tests.http.conftest import Shop, assert_problem

ADJUST, APPROVALS = "/inventory/adjust", "/inventory/approvals"
VIEW = [
    "id",
    "status",
    "kind",
    "lines",
    "reference",
    "difference",
    "units",
    "reason",
    "requested_by",
    "requested_by_name",
    "requested_at",
    "expires_at",
    "decided_by",
    "decided_by_name",
    "decided_at",
    "decision_reason",
]


def asked(shop: Shop, sku: str, quantity: int = 1001, kind: str = "receive", who: str = "operator") -> str:
    body = {"sku": sku, "kind": kind, "quantity": quantity, "reason": "much", "reference": "DN-2"}
    answer = shop.as_(who).post(ADJUST, json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"{APPROVALS}/{answer.json()['approval']['id']}"
    return answer.json()["approval"]["id"]


def test_from_the_request_to_the_rows(one_shop: Shop) -> None:
    sku = one_shop.sku(10)
    body = {"sku": sku, "kind": "receive", "quantity": 1001, "reason": "a lorry full", "reference": "DN-2"}
    headers = {"idempotency-key": uuid.uuid4().hex}
    pending = one_shop.as_("operator").post(ADJUST, json=body, headers=headers)
    assert pending.status_code == 202
    approval = pending.json()["approval"]
    assert list(approval) == VIEW
    assert (approval["status"], approval["units"], approval["requested_by"]) == ("PENDING", 1001, "operator")
    assert approval["lines"] == [{"sku": sku, "quantity": 1001}]
    assert one_shop.as_("operator").post(ADJUST, json=body, headers=headers).json() == pending.json()
    assert one_shop.level(sku) == (10, 0)
    path = f"{APPROVALS}/{approval['id']}"
    assert one_shop.as_("auditor").get(path).json() == {**approval, "transactions": []}

    answer = one_shop.as_("manager").post(f"{path}/approve", json={"reason": "seen the lorry"})
    assert answer.status_code == 200
    done = answer.json()
    assert list(done) == [*VIEW, "transactions"]
    assert (done["status"], done["decided_by"], done["decision_reason"]) == ("APPROVED", "manager", "seen the lorry")
    (row,) = done["transactions"]
    assert (row["transaction_type"], row["quantity"], row["previous_stock"], row["new_stock"]) == ("IN", 1001, 10, 1011)
    assert (row["created_by"], row["reason"], row["reference_id"]) == ("operator", "a lorry full", "DN-2")
    assert one_shop.level(sku) == (1011, 0)
    assert one_shop.as_("manager").post(f"{path}/approve").json() == done
    assert one_shop.as_("auditor").get(path).json() == done
    again = one_shop.as_("operator").post(ADJUST, json=body, headers=headers)
    assert (again.status_code, again.json()["approval"]["status"]) == (202, "APPROVED")
    other = one_shop.as_("operator").post(ADJUST, json={**body, "quantity": 1002}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")
    assert one_shop.as_("auditor").get(f"/inventory/transactions/{sku}").json()["items"][0] == row


def test_refusals(one_shop: Shop) -> None:
    sku = one_shop.sku(2000)
    approval_id = asked(one_shop, sku, 1500, "remove", who="manager")
    path = f"{APPROVALS}/{approval_id}"
    manager, admin = one_shop.as_("manager"), one_shop.as_("admin")
    for verb in ("approve", "reject"):
        assert_problem(manager.post(f"{path}/{verb}"), 403, "self-approval")
        assert_problem(one_shop.as_("operator").post(f"{path}/{verb}"), 403, "forbidden")
        assert_problem(admin.post(f"{APPROVALS}/apr_unknown/{verb}"), 404, "unknown-approval")
    assert_problem(admin.get(f"{APPROVALS}/apr_unknown"), 404, "unknown-approval")
    held = one_shop.reserve(sku, 600)
    problem = assert_problem(admin.post(f"{path}/approve"), 409, "insufficient-stock")
    assert problem["shortages"][0]["available"] == 1400
    assert admin.get(path).json()["status"] == "PENDING"
    one_shop.as_("storefront").delete(f"/inventory/reserve/{held['id']}").raise_for_status()
    rejected = admin.post(f"{path}/reject", json={"reason": "not this year"})
    assert (rejected.status_code, rejected.json()["status"]) == (200, "REJECTED")
    assert admin.post(f"{path}/reject").json() == rejected.json()
    problem = assert_problem(admin.post(f"{path}/approve"), 409, "approval-decided")
    assert problem["approval"]["status"] == "REJECTED"
    assert one_shop.level(sku) == (2000, 0)


def test_too_late(one_shop: Shop) -> None:
    import psycopg

    approval_id = asked(one_shop, one_shop.sku(0))
    with psycopg.connect(one_shop.running.database_url) as connection:
        connection.execute("UPDATE approvals SET expires_at = now() WHERE id = %s", (approval_id,))
    for verb in ("approve", "reject"):
        problem = assert_problem(
            one_shop.as_("manager").post(f"{APPROVALS}/{approval_id}/{verb}"), 410, "approval-expired"
        )
        assert problem["approval"]["status"] == "EXPIRED"


def test_damage_and_returns_wait_as_well(one_shop: Shop) -> None:
    sku = one_shop.sku(3000)
    client = one_shop.as_("operator")
    damage = client.post("/inventory/damage", json={"sku": sku, "quantity": 1001, "reason": "a flood"})
    items = [{"sku": sku, "quantity": 1001}]
    back = client.post("/inventory/return", json={"order_id": "x-1", "items": items, "reason": "a mistake"})
    assert damage.status_code == back.status_code == 202
    for answer, kind, change in ((damage, "DAMAGE", -1001), (back, "RETURN", 1001)):
        path = f"{APPROVALS}/{answer.json()['approval']['id']}/approve"
        (row,) = one_shop.as_("admin").post(path).json()["transactions"]
        assert (row["transaction_type"], row["quantity"]) == (kind, change)


def test_a_return_that_exceeds_its_order(one_shop: Shop) -> None:
    sku, order = one_shop.sku(5), f"o-{uuid.uuid4().hex}"
    held = one_shop.reserve(sku, 2)
    body = {"type": "order.created", "order_id": order, "reservation_ids": [held["id"]]}
    one_shop.as_("storefront").post("/inventory/orders", json=body).raise_for_status()
    items = [{"sku": sku, "quantity": 3}]
    answer = one_shop.as_("operator").post(
        "/inventory/return", json={"order_id": order, "items": items, "reason": "all of it"}
    )
    problem = assert_problem(answer, 409, "return-exceeds-order")
    assert problem["items"] == [{"sku": sku, "requested": 3, "returnable": 2}]
    assert one_shop.level(sku) == (3, 0)


@pytest.mark.parametrize(
    "body",
    ['{"reason": "ab"}', '{"reason": 5}', '{"because": "x"}', '{"reason": "a\\u0000bc"}', "[]", '{"reason": ""}'],
)
def test_bodies_that_are_refused(one_shop: Shop, body: str) -> None:
    path = f"{APPROVALS}/{asked(one_shop, one_shop.sku(0))}"
    for verb in ("approve", "reject"):
        answer = one_shop.as_("manager").post(
            f"{path}/{verb}", content=body, headers={"content-type": "application/json"}
        )
        assert_problem(answer, 422, "validation-error")
    assert one_shop.as_("manager").get(path).json()["status"] == "PENDING"


def test_lists(one_shop: Shop) -> None:
    sku = one_shop.sku(0)
    ids = [asked(one_shop, sku) for _ in range(3)]
    client = one_shop.as_("auditor")
    one_shop.as_("manager").post(f"{APPROVALS}/{ids[1]}/reject").raise_for_status()
    first = client.get(APPROVALS, params={"limit": 2}).json()
    assert [list(one) for one in first["items"]] == [VIEW, VIEW]
    assert [one["id"] for one in first["items"]] == ids[:0:-1]
    second = client.get(APPROVALS, params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [one["id"] for one in second["items"]] == [ids[0]]
    pending = client.get(APPROVALS, params={"status": "PENDING", "limit": 2}).json()
    assert [one["id"] for one in pending["items"]] == [ids[2], ids[0]]
    cursor = first["next_cursor"]
    assert_problem(client.get(APPROVALS, params={"cursor": cursor, "status": "PENDING"}), 400, "invalid-cursor")
    assert_problem(
        client.get(APPROVALS, params={"cursor": ("A" if cursor[0] != "A" else "B") + cursor[1:]}), 400, "invalid-cursor"
    )
    assert_problem(client.get(APPROVALS, params={"status": "OPEN"}), 422, "validation-error")
    assert_problem(client.get(APPROVALS, params={"limit": 501}), 422, "validation-error")
