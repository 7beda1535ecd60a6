"""API keys: made, listed, revoked; never shown twice, never logged."""

from __future__ import annotations

import logging

import httpx
import pytest
from structlog.testing import capture_logs

from persistence.database import DatabaseUnavailable
from tests.http.conftest import Shop, assert_problem
from tests.http.running import KEYS
from tests.waiting import wait_until

PATH = "/admin/keys"


def client_of(shop: Shop, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=shop.running.address(shop.adapter), headers={"authorization": f"Bearer {key}"}, trust_env=False
    )


def test_a_key_works_from_the_moment_it_is_shown(shop: Shop) -> None:
    made = shop.as_("admin").post(PATH, json={"name": "till 4", "role": "storefront"})
    assert made.status_code == 201
    key = made.json()
    assert set(key) == {"id", "name", "role", "key"}
    assert (key["name"], key["role"]) == ("till 4", "storefront")
    assert len(key["key"]) >= 24
    with client_of(shop, key["key"]) as till:
        assert_problem(till.get("/inventory/availability/NOPE"), 404, "unknown-sku")
        assert_problem(till.get("/inventory/products"), 403, "forbidden")
    listing = shop.as_("admin").get(PATH, params={"limit": 500})
    assert key["key"] not in listing.text
    (listed,) = [one for one in listing.json()["items"] if one["id"] == key["id"]]
    assert set(listed) == {"id", "name", "role", "created_at", "revoked_at"}
    assert listed["revoked_at"] is None


def test_a_revoked_key_stops(shop: Shop) -> None:
    key = shop.as_("admin").post(PATH, json={"name": "lost", "role": "auditor"}).json()
    with client_of(shop, key["key"]) as auditor:
        assert auditor.get("/inventory/products").status_code == 200
        answer = shop.as_("admin").delete(f"{PATH}/{key['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert_problem(auditor.get("/inventory/products"), 401, "unauthenticated")
        assert_problem(auditor.get("/inventory/availability/A"), 401, "unauthenticated")
    assert shop.as_("admin").delete(f"{PATH}/{key['id']}").status_code == 204
    assert_problem(shop.as_("admin").delete(f"{PATH}/key_never"), 404, "unknown-key")


def test_what_was_done_to_a_key_is_told_though_postgres_goes_away_behind_it(
    one_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = one_shop.running.services.keys

    async def away() -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(keys, "refresh", away)
    made = one_shop.as_("admin").post(PATH, json={"name": "once", "role": "auditor"})
    assert made.status_code == 201, "nobody else will ever be shown this key"
    with client_of(one_shop, made.json()["key"]) as auditor:
        assert auditor.get("/inventory/products").status_code == 200
        assert one_shop.as_("admin").delete(f"{PATH}/{made.json()['id']}").status_code == 204
        assert_problem(auditor.get("/inventory/products"), 401, "unauthenticated")


def test_a_key_revoked_elsewhere_stops_within_five_seconds(one_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from persistence.queries.api_keys import ApiKeys

    key = one_shop.as_("admin").post(PATH, json={"name": "lost", "role": "auditor"}).json()
    running = one_shop.running
    with client_of(one_shop, key["key"]) as auditor:
        assert auditor.get("/inventory/availability/NOPE").status_code == 404
        running.run(lambda: ApiKeys(running.services.database).revoke(key["id"]))
        # Looked up anew each second; behind the second look that has begun since, the first is over.
        looks = 0
        real = running.services.keys.refresh

        async def refresh() -> None:
            nonlocal looks
            looks += 1
            await real()

        monkeypatch.setattr(running.services.keys, "refresh", refresh)
        wait_until(lambda: looks >= 2, what="the keys to be looked up anew")
        assert auditor.get("/inventory/availability/NOPE").status_code == 401
        assert running.services.keys._poll_interval_s <= 1


def test_a_key_made_elsewhere_works_at_once(one_shop: Shop) -> None:
    from api.auth import digest_of, new_key
    from persistence.queries.api_keys import ApiKeys

    key, running = new_key(), one_shop.running
    running.run(
        lambda: ApiKeys(running.services.database).create(
            f"key_{key[3:9]}", name="x", role="auditor", key_hash=digest_of(key), created_by="tests"
        )
    )
    with client_of(one_shop, key) as auditor:
        assert auditor.get("/inventory/availability/NOPE").status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"name": "x"}, {"role": "admin"}, {"name": "", "role": "admin"}, {"name": "x", "role": "root"},
             {"name": "a\x00", "role": "admin"}, {"name": "x", "role": "admin", "key": "mine"}], ids=str
)  # fmt: skip
def test_bodies_that_are_refused(one_shop: Shop, body: dict[str, object]) -> None:
    assert_problem(one_shop.as_("admin").post(PATH, json=body), 422, "validation-error")


def test_no_key_is_ever_logged(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-secret-that-must-not-be-seen-anywhere"
    with capture_logs() as lines:
        made = shop.as_("admin").post(PATH, json={"name": "x", "role": "storefront"}).json()
        with client_of(shop, made["key"]) as one:
            one.post("/inventory/reserve", json={"customer_id": "a", "sku": "NOPE", "quantity": 1})
            one.get(f"/inventory/availability?sku=A&key={made['key']}")
        with client_of(shop, secret) as nobody:
            for path in ("/inventory/reserve/x", "/inventory/products", "/inventory/availability/A"):
                nobody.get(path)
        shop.as_("admin").delete(f"{PATH}/{made['id']}")
    logged = "\n".join(map(str, lines)) + caplog.text
    for key in (made["key"], secret, *KEYS.values()):
        # httpx logs the address it was told to ask; that line is the test's own.
        ours = "\n".join(line for line in logged.splitlines() if "HTTP Request" not in line and "httpcore" not in line)
        assert key not in ours
