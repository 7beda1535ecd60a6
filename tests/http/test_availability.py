"""GET /inventory/availability, over both adapters."""

from __future__ import annotations

import pytest

from tests.http.conftest import Shop, assert_problem

PATH = "/inventory/availability"


def test_one_sku(shop: Shop) -> None:
    sku = shop.sku(10, safety=2)
    shop.reserve(sku, 3, ttl_seconds=60)  # soon, so that it is among the deadlines looked at
    client = shop.as_("storefront")
    assert client.get(f"{PATH}/{sku}").json() == {
        "sku": sku,
        "requested": 1,
        "available": 5,
        "is_available": True,
        "next_release_at": None,
    }
    enough = client.get(f"{PATH}/{sku}", params={"quantity": 5}).json()
    assert (enough["requested"], enough["is_available"]) == (5, True)
    short = client.get(f"{PATH}/{sku}", params={"quantity": 6}).json()
    assert short["is_available"] is False
    assert short["next_release_at"] is not None


def test_a_product_that_is_not_sold_at_present(shop: Shop) -> None:
    sku = shop.sku(10, active=False)
    assert shop.as_("storefront").get(f"{PATH}/{sku}").json()["is_available"] is False


def test_several_in_the_order_asked_for(shop: Shop) -> None:
    a, b = shop.sku(1), shop.sku(0)
    answer = shop.as_("storefront").get(PATH, params={"sku": [b, a, b]}).json()
    assert [(item["sku"], item["is_available"]) for item in answer["items"]] == [(b, False), (a, True)]
    assert answer["next_cursor"] is None


def test_unknown(shop: Shop) -> None:
    client = shop.as_("storefront")
    assert assert_problem(client.get(f"{PATH}/NOPE"), 404, "unknown-sku")["skus"] == ["NOPE"]
    answer = client.get(PATH, params={"sku": [shop.sku(), "NOPE", "NO-2"]})
    assert assert_problem(answer, 404, "unknown-sku")["skus"] == ["NOPE", "NO-2"]


def test_a_sku_with_every_kind_of_character(shop: Shop) -> None:
    from engine.commands import Configure

    sku = f"a.B_c:d-e {shop.sku()[2:]}"
    command = Configure(sku, 0, 0, True, 4, "tests")
    shop.running.run(lambda: shop.running.services.engine.execute(command))
    client = shop.as_("storefront")
    assert client.get(f"{PATH}/{sku}").json()["sku"] == sku
    assert client.get(PATH, params={"sku": sku}).json()["items"][0]["available"] == 4


@pytest.mark.parametrize("quantity", ["0", "-1", "1.5", "1e3", "abc", "", "true", "9" * 30, "1000000001", "٣", " 5"])
def test_quantities_that_are_none(shop: Shop, quantity: str) -> None:
    answer = shop.as_("storefront").get(f"{PATH}/{shop.sku()}", params={"quantity": quantity})
    assert_problem(answer, 422, "validation-error")


def test_how_many_may_be_asked_for(shop: Shop) -> None:
    client = shop.as_("storefront")
    skus = [f"S-{number}" for number in range(201)]
    assert_problem(client.get(PATH, params={"sku": skus[:200]}), 404, "unknown-sku")
    assert_problem(client.get(PATH, params={"sku": skus}), 422, "validation-error")
    assert_problem(client.get(PATH), 422, "validation-error")
    assert_problem(client.get(PATH + "?" + "&".join(["sku=A"] * 1000)), 422, "validation-error")
