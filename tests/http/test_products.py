"""Products, their live status, and what is low or out."""

from __future__ import annotations

import uuid

import pytest

from tests.http.conftest import Shop, assert_problem

PRODUCTS = "/inventory/products"


def fresh() -> str:
    return f"P-{uuid.uuid4().hex[:10]}"


def test_made_then_changed(one_shop: Shop) -> None:
    sku = fresh()
    client = one_shop.as_("operator")
    body = {"name": "Red mug", "category": "mugs", "low_stock_threshold": 5, "safety_stock": 1, "initial_stock": 12}
    made = client.put(f"{PRODUCTS}/{sku}", json=body)
    assert made.status_code == 201
    product = made.json()
    assert (product["sku"], product["name"], product["category"]) == (sku, "Red mug", "mugs")
    assert (product["low_stock_threshold"], product["safety_stock"], product["status"]) == (5, 1, "active")
    assert one_shop.level(sku) == (12, 0)
    (row,) = client.get(f"/inventory/transactions/{sku}").json()["items"]
    assert (row["transaction_type"], row["quantity"], row["previous_stock"], row["new_stock"]) == ("IN", 12, 0, 12)
    assert row["created_by"] == "operator"

    changed = client.put(f"{PRODUCTS}/{sku}", json={"name": "Crimson mug", "status": "inactive", "initial_stock": 99})
    assert changed.status_code == 200
    product = changed.json()
    assert (product["name"], product["status"], product["category"]) == ("Crimson mug", "inactive", "mugs")
    assert (product["low_stock_threshold"], product["safety_stock"]) == (5, 1)
    assert one_shop.level(sku) == (12, 0)
    seen = client.get(f"{PRODUCTS}/{sku}").json()
    assert {**seen, "updated_at": ""} == {**product, "updated_at": ""}
    answer = one_shop.as_("storefront").post(
        "/inventory/reserve", json={"customer_id": "ann", "sku": sku, "quantity": 1}
    )
    assert_problem(answer, 409, "product-inactive")


def test_without_opening_stock(one_shop: Shop) -> None:
    sku = fresh()
    assert one_shop.as_("operator").put(f"{PRODUCTS}/{sku}", json={"name": "x"}).status_code == 201
    assert one_shop.level(sku) == (0, 0)
    assert one_shop.as_("auditor").get(f"/inventory/transactions/{sku}").json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": "a\x00b"},
        {"name": "x", "safety_stock": -1},
        {"name": "x", "initial_stock": 1.5},
        {"name": "x", "initial_stock": 10**13},
        {"name": "x", "low_stock_threshold": True},
        {"name": "x", "status": "gone"},
        {"name": "x", "colour": "red"},
    ],
    ids=str,
)
def test_bodies_that_are_refused(one_shop: Shop, body: dict[str, object]) -> None:
    sku = fresh()
    assert_problem(one_shop.as_("operator").put(f"{PRODUCTS}/{sku}", json=body), 422, "validation-error")
    assert_problem(one_shop.as_("operator").get(f"{PRODUCTS}/{sku}"), 404, "unknown-sku")


@pytest.mark.parametrize("sku", ["a  b", " a", "a{b}", "a*", "é", "x" * 65, "a,b", "a=b", "a\nb", "\u202eabc", "a\x00"])
def test_names_that_are_no_sku(one_shop: Shop, sku: str) -> None:
    from urllib.parse import quote

    for method, path in (("PUT", ""), ("GET", ""), ("GET", "/status")):
        answer = one_shop.as_("operator").request(method, f"{PRODUCTS}/{quote(sku)}{path}", json={"name": "x"})
        assert_problem(answer, 422, "validation-error")


def test_lists_filter_and_page(one_shop: Shop) -> None:
    category = uuid.uuid4().hex
    client = one_shop.as_("operator")
    skus = sorted(fresh() for _ in range(5))
    for number, sku in enumerate(skus):
        status = "inactive" if number == 0 else "active"
        body = {"name": f"Thing 100% {number}", "category": category, "status": status}
        client.put(f"{PRODUCTS}/{sku}", json=body).raise_for_status()

    def listed(**filters: object) -> list[str]:
        return [item["sku"] for item in client.get(PRODUCTS, params=filters).json()["items"]]

    assert listed(category=category) == skus
    assert listed(category=category, status="inactive") == skus[:1]
    assert listed(category=category, q="100% 3") == skus[3:4]
    assert listed(q=skus[2].lower()) == skus[2:3]
    seen, cursor = [], None
    while True:
        params = {"category": category, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get(PRODUCTS, params=params).json()
        seen.append([item["sku"] for item in page["items"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [skus[:2], skus[2:4], skus[4:]]


def test_status_is_live(one_shop: Shop) -> None:
    sku = fresh()
    client = one_shop.as_("operator")
    body = {"name": "Mug", "category": "mugs", "low_stock_threshold": 4, "safety_stock": 1, "initial_stock": 10}
    client.put(f"{PRODUCTS}/{sku}", json=body).raise_for_status()
    one_shop.reserve(sku, 5)
    status = client.get(f"{PRODUCTS}/{sku}/status").json()
    as_of = status.pop("as_of")
    assert as_of.endswith("Z")
    assert status == {
        "sku": sku,
        "name": "Mug",
        "category": "mugs",
        "on_hand": 10,
        "reserved": 5,
        "safety_stock": 1,
        "available": 4,
        "low_stock_threshold": 4,
        "status": "IN_STOCK",
    }
    one_shop.reserve(sku, 1)
    assert client.get(f"/inventory/{sku}/status").json()["status"] == "LOW_STOCK"
    one_shop.reserve(sku, 3)
    assert client.get(f"/inventory/{sku}/status").json()["status"] == "OUT_OF_STOCK"
    assert_problem(client.get("/inventory/NOPE/status"), 404, "unknown-sku")


def test_low_and_out_lowest_first(one_shop: Shop) -> None:
    low = [one_shop.sku(stock, threshold=9) for stock in (3, 1, 2)]
    out, plenty = one_shop.sku(0, threshold=9), one_shop.sku(9, threshold=9)
    client = one_shop.as_("auditor")

    def walk(path: str) -> list[dict[str, object]]:
        items, cursor = [], None
        while True:
            page = client.get(path, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    found = walk("/inventory/low-stock")
    levels = [item["available"] for item in found]
    assert levels == sorted(levels)  # type: ignore[type-var]
    skus = [item["sku"] for item in found]
    assert [sku for sku in skus if sku in low] == [low[1], low[2], low[0]]
    assert out not in skus
    assert plenty not in skus
    assert {item["status"] for item in found} == {"LOW_STOCK"}
    gone = walk("/inventory/out-of-stock")
    assert out in [item["sku"] for item in gone]
    assert {item["available"] for item in gone} == {0}
