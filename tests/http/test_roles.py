"""Who may do what: every endpoint against every role, from one table."""

from __future__ import annotations

import pytest

from tests.http.conftest import Shop, assert_problem
from tests.http.running import KEYS

ROLES = ("storefront", "auditor", "operator", "manager", "admin")
SHOPS = {"storefront", "admin"}
ALL = set(ROLES)
READERS = {"auditor", "operator", "manager", "admin"}
CHANGERS = {"operator", "manager", "admin"}
APPROVERS = {"manager", "admin"}
ADMINS = {"admin"}
ID = "0" * 36

# (method, path, who may). A role that may gets whatever the empty body deserves, but never 401 or 403.
TABLE = [
    ("POST", "/inventory/reserve", SHOPS),
    ("POST", "/inventory/reserve/batch", SHOPS),
    ("PATCH", f"/inventory/reserve/{ID}", SHOPS),
    ("DELETE", f"/inventory/reserve/{ID}", SHOPS),
    ("POST", f"/inventory/reserve/{ID}/confirm", SHOPS),
    ("POST", "/inventory/orders", SHOPS),
    ("GET", "/inventory/orders/dead-letters", READERS),
    ("POST", "/inventory/orders/dead-letters/0/retry", CHANGERS),
    ("GET", f"/inventory/reserve/{ID}", ALL),
    ("GET", "/inventory/availability/A", ALL),
    ("GET", "/inventory/availability?sku=A", ALL),
    ("GET", "/inventory/products", READERS),
    ("GET", "/inventory/products/A", READERS),
    ("GET", "/inventory/products/A/status", READERS),
    ("GET", "/inventory/A/status", READERS),
    ("GET", "/inventory/low-stock", READERS),
    ("GET", "/inventory/out-of-stock", READERS),
    ("GET", "/inventory/alerts", READERS),
    ("POST", "/inventory/alerts/0/resolve", CHANGERS),
    ("GET", "/inventory/levels", READERS),
    # With nothing wrong in it, it would be answered for ever.
    ("GET", "/inventory/events?types=none.such", READERS),
    ("GET", "/inventory/export", READERS),
    ("GET", "/inventory/reconciliation", READERS),
    ("GET", "/inventory/pulse", READERS),
    ("GET", "/inventory/transactions", READERS),
    ("GET", "/inventory/transactions/A", READERS),
    ("GET", "/inventory/reservations", READERS),
    ("PUT", "/inventory/products/A", CHANGERS),
    ("POST", "/inventory/adjust", CHANGERS),
    ("POST", "/inventory/damage", CHANGERS),
    ("POST", "/inventory/return", CHANGERS),
    ("POST", "/inventory/products/import", CHANGERS),
    ("POST", "/inventory/bulk-update", CHANGERS),
    ("GET", "/inventory/bulk-update", READERS),
    ("GET", "/inventory/bulk-update/imp_0", READERS),
    ("GET", "/inventory/bulk-update/imp_0/changes", READERS),
    ("POST", "/inventory/bulk-update/imp_0/apply", CHANGERS),
    ("POST", "/inventory/bulk-update/imp_0/revert", CHANGERS),
    ("GET", "/inventory/approvals", READERS),
    ("GET", "/inventory/approvals/apr_0", READERS),
    ("POST", "/inventory/approvals/apr_0/approve", APPROVERS),
    ("POST", "/inventory/approvals/apr_0/reject", APPROVERS),
    ("GET", "/admin/audit", READERS),
    ("GET", "/admin/jobs", READERS),
    ("GET", "/admin/jobs/records.forget/runs", READERS),
    ("POST", "/admin/keys", ADMINS),
    ("GET", "/admin/keys", ADMINS),
    ("DELETE", "/admin/keys/none", ADMINS),
    ("POST", "/admin/webhooks", ADMINS),
    ("GET", "/admin/webhooks", ADMINS),
    ("GET", "/admin/webhooks/wh_0", ADMINS),
    ("DELETE", "/admin/webhooks/wh_0", ADMINS),
    ("POST", "/admin/webhooks/wh_0/test", ADMINS),
    ("POST", "/admin/webhooks/wh_0/rotate-secret", ADMINS),
    ("POST", "/admin/webhooks/wh_0/enable", ADMINS),
    ("POST", "/admin/webhooks/wh_0/disable", ADMINS),
    ("GET", "/admin/webhooks/wh_0/deliveries", ADMINS),
    ("POST", "/admin/webhooks/wh_0/deliveries/1/retry", ADMINS),
]
OPEN = ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"]


@pytest.mark.parametrize(("method", "path", "may"), TABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_every_role(shop: Shop, method: str, path: str, may: set[str]) -> None:
    before = shop.journal_seq()
    for role in ROLES:
        answer = shop.as_(role).request(method, path)
        if role in may:
            assert answer.status_code not in {401, 403}, role
            assert answer.status_code < 500
        else:
            assert_problem(answer, 403, "forbidden")
    assert shop.journal_seq() == before


@pytest.mark.parametrize(("method", "path", "may"), TABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_without_a_good_key(shop: Shop, method: str, path: str, may: set[str]) -> None:
    key = KEYS["admin"]
    for authorization in (None, "", "Bearer", "Bearer x", f"Basic {key}", f"Bearer {key}x", key, f"Bearer {key} {key}"):
        headers = {} if authorization is None else {"authorization": authorization}
        assert_problem(shop.as_("nobody").request(method, path, headers=headers), 401, "unauthenticated")


def test_the_table_is_complete(one_shop: Shop) -> None:
    def plain(path: str) -> str:
        path = path.partition("?")[0].replace("/imp_0", "/{import_id}")
        path = path.replace("/wh_0", "/{webhook_id}").replace("/deliveries/1/", "/deliveries/{delivery_id}/")
        return (
            path.replace(ID, "{id}")
            .replace("/0/", "/{id}/")
            .replace("/A", "/{sku}")
            .replace("/none", "/{key_id}")
            .replace("/records.forget", "/{job}")
            .replace("/apr_0", "/{approval_id}")
        )

    documented = {
        (method.upper(), path)
        for path, operations in one_shop.as_("nobody").get("/openapi.json").json()["paths"].items()
        for method in operations
        if path not in OPEN
    }
    assert documented == {(method, plain(path)) for method, path, _ in TABLE}


@pytest.mark.parametrize("path", OPEN)
def test_what_needs_no_key(one_shop: Shop, path: str) -> None:
    assert one_shop.as_("nobody").get(path).status_code == 200


def test_the_scheme_in_any_case_and_spaces_around(shop: Shop) -> None:
    for authorization in (f"bearer {KEYS['auditor']}", f"BEARER   {KEYS['auditor']}"):
        answer = shop.as_("nobody").get("/inventory/availability?sku=A", headers={"authorization": authorization})
        assert_problem(answer, 404, "unknown-sku")


def test_a_key_in_the_url_is_no_key(shop: Shop) -> None:
    for name in ("key", "api_key", "access_token", "authorization"):
        answer = shop.as_("nobody").get("/inventory/availability", params={"sku": "A", name: KEYS["admin"]})
        assert_problem(answer, 401, "unauthenticated")


def test_other_roles_see_every_reservation_but_touch_none(shop: Shop) -> None:
    held = shop.reserve(shop.sku())
    path = f"/inventory/reserve/{held['id']}"
    for role in READERS:
        assert shop.as_(role).get(path).json()["id"] == held["id"]
    for role in READERS - {"admin"}:
        assert_problem(shop.as_(role).delete(path), 403, "forbidden")
    assert shop.as_("admin").delete(path).json()["status"] == "CANCELLED"


@pytest.mark.parametrize("verb", ["get", "patch", "delete", "confirm"])
def test_anothers_reservation_is_unknown_by_every_verb(shop: Shop, verb: str) -> None:
    sku = shop.sku(5)
    held = shop.reserve(sku, 2)
    other = shop.as_("other-storefront")

    def ask(name: str) -> object:
        path = f"/inventory/reserve/{name}"
        return {
            "get": lambda: other.get(path),
            "patch": lambda: other.patch(path, json={"ttl_seconds": 5}),
            "delete": lambda: other.delete(path),
            "confirm": lambda: other.post(f"{path}/confirm"),
        }[verb]()

    theirs, nobodys = ask(held["id"]), ask(ID)
    assert_problem(theirs, 404, "unknown-reservation")  # type: ignore[arg-type]
    assert theirs.content == nobodys.content  # type: ignore[attr-defined]
    assert shop.level(sku) == (5, 2)
