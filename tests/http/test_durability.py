"""Durability levels over HTTP: what each deployment can give, and what an answer says when a replica is silent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.services import ApiSettings, Durability
from engine import EngineSettings
from tests.http.conftest import Shop, assert_problem
from tests.http.running import ADAPTERS, RunningService
from tests.replica_pair import ReplicaPair
from tests.waiting import wait_until

RESERVE = "/inventory/reserve"
MakeService = Callable[..., RunningService]


@pytest.fixture
def pair(server_folder: Path) -> Iterator[ReplicaPair]:
    pair = ReplicaPair(server_folder)
    pair.follow()
    yield pair
    pair.close()


@pytest.fixture(params=ADAPTERS)
def shop_on(request: pytest.FixtureRequest) -> Iterator[Callable[[RunningService], Shop]]:
    opened: list[Shop] = []

    def on(running: RunningService) -> Shop:
        opened.append(Shop(running, request.param))
        return opened[-1]

    yield on
    for shop in opened:
        shop.close()


def with_replica(make_service: MakeService, pair: ReplicaPair, durability: Durability) -> RunningService:
    return make_service(
        ApiSettings(durability=durability, replicas=1, ledger_timeout_s=30),
        EngineSettings(replicas=1, replica_timeout_ms=100),
        redis=pair.primary.url,
    )


def confirm(shop: Shop, held: dict[str, Any], **headers: str) -> httpx.Response:
    return shop.as_("storefront").post(f"{RESERVE}/{held['id']}/confirm", headers=headers)


def repeated_until(answer: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """What a client does with a 503: ask again."""

    def good() -> httpx.Response | None:
        got = answer()
        return got if got.status_code == status else None

    return wait_until(good, 30, f"the answer {status}")


def test_every_change_of_a_replicated_deployment_waits_for_the_replica(
    make_service: MakeService, pair: ReplicaPair, shop_on: Callable[[RunningService], Shop]
) -> None:
    running = with_replica(make_service, pair, "replicated")
    shop = shop_on(running)
    client, sku = shop.as_("storefront"), shop.sku(20)
    body = {"customer_id": "ann", "sku": sku, "quantity": 1}
    first = [repeated_until(lambda: client.post(RESERVE, json=body), 201).json() for _ in range(3)]
    pair.pause_replica()

    key = {"idempotency-key": uuid.uuid4().hex}
    keyed = {**body, "idempotency_key": uuid.uuid4().hex}
    changes: list[Callable[[], httpx.Response]] = [
        lambda: client.post(RESERVE, json=body, headers=key),
        lambda: client.patch(f"{RESERVE}/{first[0]['id']}", json={"ttl_seconds": 90}),
        lambda: confirm(shop, first[1]),
        lambda: client.delete(f"{RESERVE}/{first[2]['id']}"),
    ]
    for change in changes:
        assert_problem(change(), 503, "durability-unknown")
    (item,) = client.post(f"{RESERVE}/batch", json={"reservations": [keyed]}).json()["results"]
    assert (item["status"], item["problem"]["code"]) == (503, "durability-unknown")
    # What changes nothing waits for nobody, and what is refused needs no replica.
    assert client.get(f"{RESERVE}/{first[1]['id']}").json()["status"] == "COMPLETED"
    assert client.get(f"/inventory/availability/{sku}").json()["available"] == 16
    assert_problem(client.post(RESERVE, json={**body, "quantity": 99}), 409, "insufficient-stock")
    assert running.services.engine.unreplicated == 5

    pair.resume_replica()
    for change, status in zip(changes, (201, 200, 200, 200), strict=True):
        answer = repeated_until(change, status)
        assert answer.headers.get("idempotency-replayed") == ("true" if status == 201 else None)
    again = repeated_until(lambda: client.post(f"{RESERVE}/batch", json={"reservations": [keyed]}), 200)
    assert again.json()["results"][0]["replayed"] is True
    # One sold, one given back, two made: each once, however often it was asked for.
    assert shop.level(sku) == (19, 3)


def test_a_single_confirm_can_ask_for_more_and_for_less(
    make_service: MakeService, pair: ReplicaPair, shop_on: Callable[[RunningService], Shop]
) -> None:
    shop = shop_on(with_replica(make_service, pair, "journal"))
    sku = shop.sku(10)
    held = [shop.reserve(sku) for _ in range(4)]
    repeated_until(lambda: confirm(shop, held[0], **{"holdfast-durability": "replicated"}), 200)
    pair.pause_replica()

    assert confirm(shop, held[1]).status_code == 200
    assert confirm(shop, held[2], **{"holdfast-durability": "journal"}).status_code == 200
    assert confirm(shop, held[3], **{"holdfast-durability": "ledger"}).status_code == 200
    # Sold already, by somebody who asked for less: to say so at this level needs the replica all the same.
    asked = {"holdfast-durability": "replicated"}
    assert_problem(confirm(shop, held[1], **asked), 503, "durability-unknown")
    pair.resume_replica()
    repeated_until(lambda: confirm(shop, held[1], **asked), 200)
    assert shop.level(sku) == (6, 0)


def test_a_replicated_deployment_can_be_asked_for_less(
    make_service: MakeService, pair: ReplicaPair, shop_on: Callable[[RunningService], Shop]
) -> None:
    shop = shop_on(with_replica(make_service, pair, "replicated"))
    sku = shop.sku(10)
    body = {"customer_id": "ann", "sku": sku, "quantity": 1}
    held = repeated_until(lambda: shop.as_("storefront").post(RESERVE, json=body), 201).json()
    pair.pause_replica()
    assert_problem(confirm(shop, held), 503, "durability-unknown")
    assert confirm(shop, held, **{"holdfast-durability": "journal"}).status_code == 200


@pytest.mark.parametrize(
    ("durability", "replicas", "given"),
    [
        ("journal", 0, "journal, ledger"),
        ("fsync", 0, "journal, fsync, ledger"),
        ("ledger", 1, "journal, replicated, ledger"),
        ("replicated", 1, "journal, replicated, ledger"),
    ],
)
def test_what_a_deployment_cannot_give_is_refused_and_changes_nothing(
    make_service: MakeService, durability: Durability, replicas: int, given: str
) -> None:
    # Nobody is waited for here, so that no replica has to be there.
    settings = ApiSettings(durability=durability, replicas=replicas, ledger_timeout_s=30)
    shop = Shop(make_service(settings, EngineSettings(replicas=replicas, replica_timeout_ms=10)), "protocol")
    sku = shop.sku(10)
    engine = shop.running.services.engine
    held = shop.running.run(lambda: engine.reserve([(sku, 1)], customer_id="ann", caller="storefront"))
    seq = shop.journal_seq()
    offered = given.split(", ")
    nonsense = {"", "Ledger", "journal,ledger", "l\xe9dger", "x" * 500}
    for value in nonsense | ({"journal", "fsync", "replicated", "ledger"} - {*offered}):
        answer = shop.as_("storefront").post(
            f"{RESERVE}/{held.id}/confirm", headers=[(b"holdfast-durability", value.encode("latin-1"))]
        )
        document = assert_problem(answer, 400, "invalid-durability")
        assert document["detail"] == f"This service can give: {given}."
    assert shop.journal_seq() == seq
    for value in offered:
        answer = shop.as_("storefront").post(f"{RESERVE}/{held.id}/confirm", headers={"holdfast-durability": value})
        # There is no replica behind the service of this test.
        assert answer.status_code == (503 if value == "replicated" else 200), value
    shop.close()


def test_readiness_tells_how_many_replicas_are_missing(
    make_service: MakeService, pair: ReplicaPair, shop_on: Callable[[RunningService], Shop]
) -> None:
    shop = shop_on(with_replica(make_service, pair, "replicated"))

    def told() -> dict[str, Any]:
        answer: dict[str, Any] = shop.as_("nobody").get("/readyz").json()
        return answer

    # The primary counts one in once it has been heard of, a moment behind its first acknowledgement.
    wait_until(lambda: (told()["status"], told()["replicas"]) == ("ready", "ok"), what="the replica to be counted")
    pair.promote()
    wait_until(lambda: told()["replicas"] != "ok", what="the primary to miss it")

    assert told()["replicas"] == "0 of 1 follow: durability `replicated` answers nobody"
    assert "replicas" in told()["degraded"]
    assert told()["status"] == "ready", "what needs no replica is served"
