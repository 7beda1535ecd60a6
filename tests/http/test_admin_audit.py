"""The admin audit: every request that could change something, by whom, with which key, and how it ended."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg

from runtime.embedded_postgres import EmbeddedPostgres
from tests.http.conftest import Shop, assert_problem
from tests.http.running import KEYS, RunningService

AUDIT = "/admin/audit"


def marked(shop: Shop, mark: str) -> list[dict[str, Any]]:
    """Rows whose request carried this id, newest first."""
    items = shop.as_("auditor").get(AUDIT, params={"limit": 100}).json()["items"]
    return [row for row in items if row["request_id"] == mark]


def test_what_a_row_says(one_shop: Shop) -> None:
    sku, mark = one_shop.sku(10), uuid.uuid4().hex
    body = {"sku": sku, "kind": "receive", "quantity": 5, "reason": "a secret reason"}
    headers = {"x-request-id": mark, "idempotency-key": "audit-" + mark}
    one_shop.as_("operator").post("/inventory/adjust", json=body, headers=headers).raise_for_status()
    (row,) = marked(one_shop, mark)
    assert row.pop("id") > 0
    assert row.pop("duration_ms") >= 0
    assert abs(datetime.fromisoformat(row.pop("at")) - datetime.now(UTC)) < timedelta(seconds=60)
    assert row == {
        "key_id": "operator",
        "key_name": "operator",
        "role": "operator",
        "action": "adjust",
        "method": "POST",
        "route": "/inventory/adjust",
        "target": sku,
        "request_id": mark,
        "idempotency_key": True,
        "status": 201,
        "code": None,
    }


def test_every_kind_of_change_and_how_it_ended(one_shop: Shop) -> None:
    sku, mark = one_shop.sku(10), uuid.uuid4().hex
    key_id = one_shop.as_("admin").post("/admin/keys", json={"name": "n", "role": "auditor"}).json()["id"]
    requests: list[tuple[str, str, str, Any, int, str | None, str, str | None]] = [
        ("operator", "POST", "/inventory/damage", {"sku": sku, "quantity": 11, "reason": "dropped"}, 409,
         "insufficient-stock", "damage", sku),
        ("operator", "POST", "/inventory/damage", {}, 422, "validation-error", "damage", None),
        ("operator", "PUT", f"/inventory/products/{sku}", {"name": "Mug"}, 200, None, "put_product", sku),
        ("operator", "POST", "/inventory/approvals/apr_1/approve", {}, 403, "forbidden", "approve", "apr_1"),
        ("manager", "POST", "/inventory/approvals/apr_1/approve", {}, 404, "unknown-approval", "approve", "apr_1"),
        ("auditor", "POST", "/inventory/adjust", {}, 403, "forbidden", "adjust", None),
        ("admin", "DELETE", f"/admin/keys/{key_id}", None, 204, None, "revoke_key", key_id),
        ("admin", "POST", "/inventory/orders", {"type": "order.cancelled", "order_id": "none"}, 404, "unknown-order",
         "report", "none"),
    ]  # fmt: skip
    for who, method, path, body, *_ in requests:
        one_shop.as_(who).request(method, path, json=body, headers={"x-request-id": mark})
    rows = marked(one_shop, mark)[::-1]
    assert [(row["role"], row["method"], row["status"], row["code"], row["action"]) for row in rows] == [
        (who, method, status, code, action) for who, method, _, _, status, code, action, _ in requests
    ]
    assert [row["target"] for row in rows] == [target for *_, target in requests]
    assert not any(row["idempotency_key"] for row in rows)


def test_reservations_changed_with_another_key_than_a_storefronts(shop: Shop) -> None:
    """Over both adapters: the hot path takes a detour for them, and the answers are the same."""
    sku, mark = shop.sku(10), uuid.uuid4().hex
    headers = {"x-request-id": mark}
    client = shop.as_("admin")
    body = {"customer_id": "ann", "sku": sku, "quantity": 2}
    made = client.post("/inventory/reserve", json=body, headers={**headers, "idempotency-key": mark})
    again = client.post("/inventory/reserve", json=body, headers={**headers, "idempotency-key": mark})
    assert (made.status_code, again.status_code, made.content) == (201, 201, again.content)
    assert made.headers["x-request-id"] == mark
    held = made.json()["id"]
    path = f"/inventory/reserve/{held}"
    client.get(path, headers=headers).raise_for_status()
    client.get(f"/inventory/availability/{sku}", headers=headers).raise_for_status()
    client.patch(path, json={"ttl_seconds": 60}, headers=headers).raise_for_status()
    client.post(f"{path}/confirm", headers=headers).raise_for_status()
    assert_problem(client.delete(path, headers=headers), 409, "reservation-not-active")
    client.post("/inventory/reserve/batch", json={"reservations": [body]}, headers=headers).raise_for_status()
    assert_problem(client.post("/inventory/reserve", json={}, headers=headers), 422, "validation-error")
    assert_problem(shop.as_("operator").delete(path, headers=headers), 403, "forbidden")
    shop.as_("storefront").post("/inventory/reserve", json=body, headers=headers).raise_for_status()
    rows = [
        (row["role"], row["action"], row["method"], row["route"], row["target"], row["status"], row["code"])
        for row in marked(shop, mark)[::-1]
    ]
    base = "/inventory/reserve"
    assert rows == [
        ("admin", "reserve", "POST", base, None, 201, None),
        ("admin", "reserve", "POST", base, None, 201, None),
        ("admin", "amend", "PATCH", base + "/{id}", held, 200, None),
        ("admin", "confirm", "POST", base + "/{id}/confirm", held, 200, None),
        ("admin", "release", "DELETE", base + "/{id}", held, 409, "reservation-not-active"),
        ("admin", "batch", "POST", base + "/batch", None, 200, None),
        ("admin", "reserve", "POST", base, None, 422, "validation-error"),
        ("operator", "release", "DELETE", base + "/{id}", held, 403, "forbidden"),
    ]


def test_what_only_reads_and_what_storefronts_do_leave_no_row(one_shop: Shop) -> None:
    mark = uuid.uuid4().hex
    headers = {"x-request-id": mark}
    for who in ("admin", "auditor"):
        for path in ("/inventory/products", AUDIT, "/inventory/approvals", "/healthz"):
            one_shop.as_(who).get(path, headers=headers)
            one_shop.as_(who).head(path, headers=headers)
    body = {"type": "order.cancelled", "order_id": "none"}
    one_shop.as_("storefront").post("/inventory/orders", json=body, headers=headers)
    one_shop.as_("storefront").post("/inventory/adjust", json={}, headers=headers)
    one_shop.as_("nobody").post("/inventory/adjust", json={}, headers=headers)
    assert marked(one_shop, mark) == []


def test_no_secret_and_no_body_is_kept(one_shop: Shop) -> None:
    mark = uuid.uuid4().hex
    answer = one_shop.as_("admin").post(
        "/admin/keys", json={"name": f"named-{mark}", "role": "operator"}, headers={"x-request-id": mark}
    )
    secret = answer.json()["key"]
    with psycopg.connect(one_shop.running.database_url) as connection:
        rows = connection.execute("SELECT admin_audit::text FROM admin_audit").fetchall()
    text = "\n".join(row for (row,) in rows)
    assert mark in text
    assert f"named-{mark}" not in text
    for hidden in (secret, *KEYS.values()):
        assert hidden not in text


def test_hostile_targets_and_ids_are_kept_as_text(one_shop: Shop) -> None:
    for path in ("a%00b", "%ED%A0%80", "x" * 3000, "%27;DROP%20TABLE%20admin_audit;--"):
        mark = uuid.uuid4().hex
        answer = one_shop.as_("admin").delete(f"/admin/keys/{path}", headers={"x-request-id": mark})
        assert answer.status_code in {404, 422}, path
        (row,) = marked(one_shop, mark)
        assert row["status"] == answer.status_code
        assert len(row["target"]) <= 255


def test_filters_and_pages(one_shop: Shop) -> None:
    sku = one_shop.sku(10)
    before = datetime.now(UTC) - timedelta(seconds=1)
    for who in ("operator", "manager"):
        for _ in range(2):
            body = {"sku": sku, "quantity": 1, "reason": "dropped"}
            one_shop.as_(who).post("/inventory/damage", json=body).raise_for_status()
    client = one_shop.as_("auditor")

    def ask(**params: Any) -> httpx.Response:
        return client.get(AUDIT, params=params)

    for filters, wanted in (
        ({"key_id": "manager"}, {"manager"}),
        ({"action": "damage"}, {"manager", "operator"}),
        ({"action": "damage", "key_id": "operator"}, {"operator"}),
        ({"from": before.isoformat(), "action": "damage"}, {"manager", "operator"}),
        ({"to": (before - timedelta(days=1)).isoformat()}, set()),
        ({"key_id": "nobody"}, set()),
        ({"action": "nothing"}, set()),
    ):
        items = ask(limit=4, **filters).json()["items"]
        assert {row["key_id"] for row in items} == wanted, filters
        assert all(row["action"] == filters.get("action", row["action"]) for row in items)
    ids = [row["id"] for row in ask(action="damage", limit=4).json()["items"]]
    assert ids == sorted(ids, reverse=True)
    first = ask(action="damage", limit=2).json()
    second = ask(action="damage", limit=2, cursor=first["next_cursor"]).json()
    assert [row["id"] for row in first["items"] + second["items"]] == ids
    assert_problem(ask(action="adjust", cursor=first["next_cursor"]), 400, "invalid-cursor")
    assert_problem(ask(**{"from": "yesterday"}), 422, "validation-error")
    assert_problem(ask(key_id="a\0"), 422, "validation-error")


def test_without_postgres_nothing_is_done(
    make_postgres: Callable[..., EmbeddedPostgres], make_service: Callable[..., RunningService]
) -> None:
    """What cannot be put on record is not done; and a row whose outcome could not be written says so."""
    from persistence.migrate import upgrade

    server = make_postgres()
    server.create_database("audited")
    url = server.database_url("audited")
    upgrade(url)
    running = make_service(database=url)
    shop = Shop(running, "protocol")
    sku = shop.sku(10)
    body = {"sku": sku, "quantity": 1, "reason": "dropped"}
    shop.as_("operator").post("/inventory/damage", json=body).raise_for_status()
    server.stop()
    seq = shop.journal_seq()
    assert_problem(shop.as_("operator").post("/inventory/damage", json=body), 503, "ledger-unavailable")
    hold = {"customer_id": "ann", "sku": sku, "quantity": 1}
    assert_problem(shop.as_("admin").post("/inventory/reserve", json=hold), 503, "ledger-unavailable")
    assert (shop.journal_seq(), shop.level(sku)) == (seq, (9, 0))
    # A storefront sells on.
    assert shop.as_("storefront").post("/inventory/reserve", json=hold).status_code == 201
    server.start()
    answer = shop.as_("operator").post("/inventory/damage", json=body)
    assert answer.status_code == 201, answer.text
    assert [row["status"] for row in shop.as_("auditor").get(AUDIT).json()["items"]] == [201, 201]
    shop.close()
