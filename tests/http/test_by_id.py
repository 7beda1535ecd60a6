"""Read, amend, release and confirm, over both adapters."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest

from tests.http.conftest import Shop, assert_problem
from tests.waiting import wait_until

RESERVE = "/inventory/reserve"
NEVER = "0" * 36


def path_of(held: dict[str, object]) -> str:
    return f"{RESERVE}/{held['id']}"


class TestRead:
    def test_what_was_made_can_be_read(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        seen = shop.as_("storefront").get(path_of(held)).json()
        assert seen.pop("expires_in_seconds") in {1799, 1800}
        held.pop("expires_in_seconds")
        assert seen == held

    @pytest.mark.parametrize("name", [NEVER, "nonsense", "A" * 36, "%00", "..", "x" * 5000, "0" * 35 + "%0A"])
    def test_what_never_was(self, shop: Shop, name: str) -> None:
        answer = shop.as_("storefront").get(f"{RESERVE}/{name}")
        if name == "..":  # the client itself makes /inventory/ of it
            assert answer.status_code == 404
        else:
            assert_problem(answer, 404, "unknown-reservation")

    def test_anothers_is_as_unknown_as_one_that_never_was(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        other = shop.as_("other-storefront")
        theirs, nobodys = other.get(path_of(held)), other.get(f"{RESERVE}/{NEVER}")
        assert_problem(theirs, 404, "unknown-reservation")
        assert theirs.content == nobodys.content

    def test_head_is_get_without_its_body(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        answer = shop.as_("storefront").head(path_of(held))
        assert answer.status_code == 200
        assert answer.content == b""
        assert int(answer.headers["content-length"]) > 100


class TestAmend:
    def test_new_lines_replace_the_old_ones(self, shop: Shop) -> None:
        a, b = shop.sku(10), shop.sku(10)
        held = shop.reserve(a, 3)
        answer = shop.as_("storefront").patch(path_of(held), json={"lines": [{"sku": b, "quantity": 4}]})
        assert answer.status_code == 200
        assert answer.json()["lines"] == [{"sku": b, "quantity": 4}]
        assert answer.json()["expires_at"] == held["expires_at"]
        assert (shop.level(a), shop.level(b)) == ((10, 0), (10, 4))

    def test_a_new_time_counts_from_now(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku(), ttl_seconds=100)
        amended = shop.as_("storefront").patch(path_of(held), json={"ttl_seconds": 1000}).json()
        left = datetime.fromisoformat(amended["expires_at"]) - datetime.fromisoformat(amended["updated_at"])
        assert left.total_seconds() == 1000
        assert amended["created_at"] == held["created_at"]
        assert amended["lines"] == held["lines"]

    def test_on_shortage_the_old_hold_stays_whole(self, shop: Shop) -> None:
        sku = shop.sku(5)
        held = shop.reserve(sku, 3)
        client = shop.as_("storefront")
        answer = client.patch(path_of(held), json={"lines": [{"sku": sku, "quantity": 6}], "ttl_seconds": 5})
        assert assert_problem(answer, 409, "insufficient-stock")["shortages"][0]["available"] == 5
        after = client.get(path_of(held)).json()
        assert (after["lines"], after["expires_at"]) == (held["lines"], held["expires_at"])
        assert shop.level(sku) == (5, 3)

    def test_unknown_sku(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        answer = shop.as_("storefront").patch(path_of(held), json={"lines": [{"sku": "NOPE", "quantity": 1}]})
        assert assert_problem(answer, 404, "unknown-sku")["skus"] == ["NOPE"]

    @pytest.mark.parametrize("body", [{}, {"lines": []}, {"ttl_seconds": 0}, {"ttl_seconds": 86_401}, {"sku": "A"}])
    def test_bodies_that_say_nothing_good(self, shop: Shop, body: dict[str, object]) -> None:
        held = shop.reserve(shop.sku())
        assert_problem(shop.as_("storefront").patch(path_of(held), json=body), 422, "validation-error")

    def test_of_an_ended_reservation(self, shop: Shop) -> None:
        client = shop.as_("storefront")
        released, sold = shop.reserve(shop.sku()), shop.reserve(shop.sku())
        client.delete(path_of(released)).raise_for_status()
        client.post(path_of(sold) + "/confirm").raise_for_status()
        for ended in (released, sold):
            answer = client.patch(path_of(ended), json={"ttl_seconds": 5})
            assert assert_problem(answer, 409, "reservation-not-active")["reservation"]["id"] == ended["id"]


class TestRelease:
    def test_gives_back_and_again_the_same(self, shop: Shop) -> None:
        sku = shop.sku(5)
        held = shop.reserve(sku, 2)
        client = shop.as_("storefront")
        first, again = client.delete(path_of(held)), client.delete(path_of(held))
        assert first.status_code == again.status_code == 200
        assert first.json()["status"] == "CANCELLED"
        assert first.json()["expires_in_seconds"] == 0
        assert first.content == again.content
        assert shop.level(sku) == (5, 0)

    def test_of_a_sale(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        client = shop.as_("storefront")
        client.post(path_of(held) + "/confirm", json={"order_id": "o-1"}).raise_for_status()
        problem = assert_problem(client.delete(path_of(held)), 409, "reservation-not-active")
        assert problem["reservation"]["status"] == "COMPLETED"
        assert problem["reservation"]["order_id"] == "o-1"


class TestConfirm:
    def test_sells_and_again_the_same(self, shop: Shop) -> None:
        sku = shop.sku(5)
        held = shop.reserve(sku, 2)
        client = shop.as_("storefront")
        first = client.post(path_of(held) + "/confirm", json={"order_id": "o-17"})
        assert first.status_code == 200
        assert first.json()["status"] == "COMPLETED"
        assert first.json()["order_id"] == "o-17"
        assert shop.level(sku) == (3, 0)
        for body in ({"order_id": "o-17"}, {}):
            assert client.post(path_of(held) + "/confirm", json=body).content == first.content
        assert shop.level(sku) == (3, 0)

    def test_without_a_body(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        answer = shop.as_("storefront").post(path_of(held) + "/confirm")
        assert answer.status_code == 200
        assert answer.json()["order_id"] is None

    def test_for_another_order(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        client = shop.as_("storefront")
        client.post(path_of(held) + "/confirm", json={"order_id": "o-1"}).raise_for_status()
        answer = client.post(path_of(held) + "/confirm", json={"order_id": "o-2"})
        assert assert_problem(answer, 409, "reservation-not-active")["reservation"]["order_id"] == "o-1"

    def test_of_a_released_one(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        client = shop.as_("storefront")
        client.delete(path_of(held)).raise_for_status()
        answer = client.post(path_of(held) + "/confirm")
        assert assert_problem(answer, 409, "reservation-not-active")["reservation"]["status"] == "CANCELLED"

    @pytest.mark.parametrize("order", ["", "x" * 256, "a\x00b", "a\nb", 5, True])
    def test_bad_order_ids(self, shop: Shop, order: object) -> None:
        sku = shop.sku()
        held = shop.reserve(sku)
        answer = shop.as_("storefront").post(path_of(held) + "/confirm", json={"order_id": order})
        assert_problem(answer, 422, "validation-error")
        assert shop.level(sku) == (10, 1)

    def test_with_durability_ledger_it_is_in_postgres_when_answered(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        order = f"o-{held['id']}"
        answer = shop.as_("storefront").post(
            path_of(held) + "/confirm", json={"order_id": order}, headers={"holdfast-durability": "ledger"}
        )
        assert answer.status_code == 200
        rows = shop.as_("auditor").get("/inventory/transactions", params={"reference_id": order}).json()["items"]
        assert [(row["transaction_type"], row["quantity"]) for row in rows] == [("OUT", -1)]

    def test_with_durability_journal(self, shop: Shop) -> None:
        held = shop.reserve(shop.sku())
        headers = {"holdfast-durability": "journal"}
        assert shop.as_("storefront").post(path_of(held) + "/confirm", headers=headers).status_code == 200

    @pytest.mark.parametrize("value", ["", "fsync", "Ledger", "ledger, journal"])
    def test_an_unknown_durability(self, shop: Shop, value: str) -> None:
        sku = shop.sku()
        held = shop.reserve(sku)
        headers = {"holdfast-durability": value}
        answer = shop.as_("storefront").post(path_of(held) + "/confirm", headers=headers)
        assert_problem(answer, 400, "invalid-durability")
        assert shop.level(sku) == (10, 1)


class TestExpired:
    def test_by_every_verb(self, shop: Shop) -> None:
        sku = shop.sku(5)
        held = shop.reserve(sku, 2, ttl_seconds=1)
        client = shop.as_("storefront")
        seen = wait_until(
            lambda: (now := client.get(path_of(held)).json())["status"] == "EXPIRED" and now, what="the hold to expire"
        )
        assert seen["expires_in_seconds"] == 0
        assert shop.level(sku) == (5, 0)
        for answer in (
            client.patch(path_of(held), json={"ttl_seconds": 5}),
            client.delete(path_of(held)),
            client.post(path_of(held) + "/confirm"),
        ):
            assert assert_problem(answer, 410, "reservation-expired")["reservation"]["status"] == "EXPIRED"

    def test_expired_stock_sells_at_once_without_a_sweeper(self, shop: Shop) -> None:
        sku = shop.sku(1)
        shop.reserve(sku, 1, ttl_seconds=1)
        client = shop.as_("storefront")
        body = {"customer_id": "bob", "sku": sku, "quantity": 1}
        wait_until(lambda: client.post(RESERVE, json=body).status_code == 201, what="the units to come back")


def test_sixty_four_callers_on_the_last_units(shop: Shop) -> None:
    sku = shop.sku(10)
    client = shop.as_("storefront")
    statuses: list[int] = []

    def buy() -> None:
        body = {"customer_id": "ann", "sku": sku, "quantity": 1}
        statuses.append(client.post(RESERVE, json=body).status_code)

    threads = [threading.Thread(target=buy) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] * 10 + [409] * 54
    assert shop.level(sku) == (10, 10)


def test_a_percent_sign_is_taken_away_once(shop: Shop) -> None:
    sku = shop.sku(5)
    client = shop.as_("storefront")
    once = f"%{ord(sku[0]):02X}{sku[1:]}"
    assert client.get(f"/inventory/availability/{once}").json()["sku"] == sku
    assert_problem(client.get(f"/inventory/availability/%25{once[1:]}"), 422, "validation-error")
    held = shop.reserve(sku)["id"]
    client.get(f"/inventory/reserve/%{ord(held[0]):02X}{held[1:]}").raise_for_status()
    answer = client.delete(f"/inventory/reserve/%25{ord(held[0]):02X}{held[1:]}")
    assert_problem(answer, 404, "unknown-reservation")
    assert shop.level(sku) == (5, 1)
