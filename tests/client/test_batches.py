"""A batch of reservations: what the service could not answer for is asked again, alone and under the same keys."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import msgspec
import pytest

from holdfast_client import InsufficientStock, OutcomeUnknown, Overloaded, ReserveRequest, Retries
from tests.client.driving import KINDS, open_client

REQUESTS = [ReserveRequest(customer_id=name, lines={"A": 1}) for name in ("ann", "bob", "cy")]
QUICK = Retries(deadline_s=20.0, first_pause_s=0.0, longest_pause_s=0.0)


class Service:
    """Holds for ann at once, never for bob, and for cy when asked for the third time."""

    def __init__(self, cy_at: int) -> None:
        self.cy_at = cy_at
        self.asked: list[list[str]] = []
        self.keys: dict[str, set[str]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        items = msgspec.json.decode(request.content)["reservations"]
        self.asked.append([item["customer_id"] for item in items])
        for item in items:
            self.keys.setdefault(item["customer_id"], set()).add(item["idempotency_key"])
        return httpx.Response(200, json={"results": [self._one(item["customer_id"]) for item in items]})

    def _one(self, name: str) -> dict[str, Any]:
        if name == "bob":
            return {"status": 409, "problem": {"code": "insufficient-stock", "status": 409, "shortages": []}}
        if name == "cy" and len(self.asked) < self.cy_at:
            return {"status": 503, "problem": {"code": "outcome-unknown", "status": 503}}
        return {"status": 201, "reservation": {**_HELD, "customer_id": name}}


_HELD = {
    "id": "0" * 36,
    "status": "ACTIVE",
    "cart_id": None,
    "order_id": None,
    "lines": [{"sku": "A", "quantity": 1}],
    "expires_at": "2026-03-01T12:15:00.000Z",
    "expires_in_seconds": 900,
    "created_at": "2026-03-01T12:00:00.000Z",
    "updated_at": "2026-03-01T12:00:00.000Z",
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_was_not_answered_is_asked_again(kind: str) -> None:
    service = Service(cy_at=3)
    with open_client(kind, "http://shop", "k", answer=service, retries=QUICK) as client:
        ann, bob, cy = client.reserve_batch(REQUESTS)
    assert (ann.reservation.customer_id, cy.reservation.customer_id) == ("ann", "cy")
    assert isinstance(bob.problem, InsufficientStock)
    assert service.asked == [["ann", "bob", "cy"], ["cy"], ["cy"]]
    assert Counter(len(keys) for keys in service.keys.values()) == {1: 3}
    assert len(set.union(*service.keys.values())) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_given_up_at_the_deadline(kind: str) -> None:
    service = Service(cy_at=10**9)
    with open_client(kind, "http://shop", "k", answer=service, retries=Retries(deadline_s=0)) as client:
        *_, cy = client.reserve_batch(REQUESTS)
    assert isinstance(cy.problem, OutcomeUnknown)
    assert len(service.asked) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("failure", "told"),
    [(httpx.ConnectError("no"), Overloaded), (httpx.ReadError("cut"), OutcomeUnknown), (b"<html>", OutcomeUnknown)],
    ids=["not sent", "cut", "not ours"],
)
def test_what_is_held_is_told_whatever_comes_of_the_rest(
    kind: str, failure: Exception | bytes, told: type[Exception]
) -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        if len(asked) == 1:
            busy = {"status": 503, "problem": {"code": "overloaded", "status": 503}}
            held = {"status": 201, "reservation": {**_HELD, "customer_id": "ann"}}
            return httpx.Response(200, json={"results": [held, busy]})
        if isinstance(failure, bytes):
            return httpx.Response(200, content=failure)
        raise failure

    retries = Retries(deadline_s=0.2, first_pause_s=0.01, longest_pause_s=0.01)
    with open_client(kind, "http://shop", "k", answer=answer, retries=retries) as client:
        ann, bob = client.reserve_batch(REQUESTS[:2])
    assert ann.reservation.customer_id == "ann"
    assert bob.status == 503
    assert type(bob.problem) is told
    assert len(asked) > 1


def test_an_empty_batch() -> None:
    with open_client("sync", "http://shop", "k", answer=Service(1)) as client:
        assert client.reserve_batch([]) == []
