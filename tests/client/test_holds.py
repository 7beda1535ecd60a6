"""`with client.hold(...)`: stock is held while the block runs, and given back however it ends, unless it was sold."""

from __future__ import annotations

import logging

import anyio
import httpx
import pytest

from holdfast_client import (
    AnswerLost,
    AsyncClient,
    InsufficientStock,
    NotConnected,
    ReservationExpired,
    ReservationNotActive,
    Retries,
)
from tests.client.conftest import Shop
from tests.client.driving import KINDS, open_client
from tests.http.running import KEYS
from tests.waiting import wait_until


def test_confirmed_in_the_block(shop: Shop) -> None:
    sku = shop.sku(10)
    with shop.storefront.hold(sku, 2, customer_id="ann", ttl_s=600) as hold:
        assert shop.level(sku) == (10, 2)
        sold = hold.confirm("o-1")
    assert (sold.status, sold.order_id) == ("COMPLETED", "o-1")
    assert hold.reservation == sold
    assert shop.level(sku) == (8, 0)


def test_released_when_the_block_ends_without_a_confirm(shop: Shop) -> None:
    sku = shop.sku(10)
    with shop.storefront.hold(sku, 2, customer_id="ann") as hold:
        pass
    assert hold.reservation.status == "CANCELLED"
    assert shop.level(sku) == (10, 0)


def test_released_when_the_block_raises_and_the_exception_goes_on(shop: Shop) -> None:
    sku = shop.sku(10)
    with pytest.raises(KeyError, match="payment"), shop.storefront.hold(sku, 2, customer_id="ann"):
        raise KeyError("payment")
    assert shop.level(sku) == (10, 0)


def test_several_lines_amended_and_extended(shop: Shop) -> None:
    one, other = shop.sku(10), shop.sku(10)
    with shop.storefront.hold({one: 2, other: 3}, customer_id="ann", ttl_s=60) as hold:
        assert {line.sku: line.quantity for line in hold.reservation.lines} == {one: 2, other: 3}
        hold.amend([(one, 1)])
        assert (shop.level(one), shop.level(other)) == ((10, 1), (10, 0))
        with pytest.raises(InsufficientStock):
            hold.amend({one: 11})
        assert shop.level(one) == (10, 1)
        before = hold.reservation.expires_at
        assert hold.extend(600).expires_at > before
        hold.release()
        assert not hold.is_active
    assert shop.level(one) == (10, 0)


def test_nothing_begins_when_there_is_too_little(shop: Shop) -> None:
    sku = shop.sku(1)
    ran = False
    with pytest.raises(InsufficientStock) as refused, shop.storefront.hold(sku, 2, customer_id="ann"):
        ran = True
    assert not ran
    (short,) = refused.value.shortages
    assert (short.sku, short.requested, short.available) == (sku, 2, 1)


def test_a_hold_that_expired_in_the_block(cold_shop: Shop) -> None:
    shop, sku = cold_shop, cold_shop.sku(5)
    with shop.storefront.hold(sku, 2, customer_id="ann", ttl_s=1) as hold:
        wait_until(lambda: shop.storefront.get_reservation(hold.id).status == "EXPIRED", 30)
        with pytest.raises(ReservationExpired) as expired:
            hold.confirm("o-1")
        assert expired.value.reservation.id == hold.id
    assert hold.reservation.status == "EXPIRED"
    assert shop.level(sku) == (5, 0)


def test_ended_by_somebody_else_in_the_block(shop: Shop) -> None:
    sku = shop.sku(5)
    with shop.storefront.hold(sku, 1, customer_id="ann") as hold:
        shop.storefront.release(hold.id)
        with pytest.raises(ReservationNotActive):
            hold.confirm()
    assert hold.reservation.status == "CANCELLED"


class _Away:
    """A service that answers the reserve and is gone afterwards."""

    def __init__(self, confirm_first: bool = False) -> None:
        self.asked: list[str] = []
        self.confirm_first = confirm_first

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        if request.url.path == "/inventory/reserve":
            return httpx.Response(201, json=_RESERVATION)
        if request.method == "DELETE" and self.confirm_first:
            sold = {**_RESERVATION, "status": "COMPLETED"}
            problem = {"code": "reservation-not-active", "status": 409, "title": "", "detail": "", "reservation": sold}
            return httpx.Response(409, json=problem)
        raise httpx.ReadError("cut")


_RESERVATION = {
    "id": "0" * 36,
    "status": "ACTIVE",
    "customer_id": "ann",
    "cart_id": None,
    "order_id": None,
    "lines": [{"sku": "A", "quantity": 1}],
    "expires_at": "2026-03-01T12:15:00.000Z",
    "expires_in_seconds": 900,
    "created_at": "2026-03-01T12:00:00.000Z",
    "updated_at": "2026-03-01T12:00:00.000Z",
}
ONCE = Retries(deadline_s=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_that_fails_is_logged_and_hides_nothing(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    service = _Away()
    with (
        caplog.at_level(logging.WARNING, "holdfast_client"),
        open_client(kind, "http://shop", "k", answer=service, retries=ONCE) as client,
    ):
        with pytest.raises(ValueError, match="mine"), client.hold("A", customer_id="ann"):
            raise ValueError("mine")
        with client.hold("A", customer_id="ann"):
            pass
    assert [record.message.partition(" (")[0] for record in caplog.records] == [f"hold {'0' * 36} was not released"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_the_block_finds_out_what_a_lost_confirm_came_to(kind: str) -> None:
    service = _Away(confirm_first=True)
    with open_client(kind, "http://shop", "k", answer=service, retries=ONCE) as client:
        with pytest.raises(AnswerLost), client.hold("A", customer_id="ann") as hold:
            hold.confirm("o-1")
        assert hold.reservation.status == "COMPLETED"
    assert service.asked[-1].startswith("DELETE")


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_that_never_began_releases_nothing(kind: str) -> None:
    def refused(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    ran = False
    with (
        open_client(kind, "http://shop", "k", answer=refused, retries=ONCE) as client,
        pytest.raises(NotConnected),
        client.hold("A", customer_id="ann"),
    ):
        ran = True
    assert not ran


async def test_a_release_that_is_given_up_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("holdfast_client.holds.RELEASE_S", 0.05)
    away = _Away()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            await anyio.sleep_forever()
        return away(request)

    with caplog.at_level(logging.WARNING, "holdfast_client"):
        client = AsyncClient("http://shop", "k", transport=httpx.MockTransport(answer))
        async with client, client.hold("A", customer_id="ann"):
            pass
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        f"hold {'0' * 36} was not released (not answered in time)"
    ]


async def test_a_cancelled_task_gives_its_hold_back(service: object, cold_shop: Shop) -> None:
    sku = await anyio.to_thread.run_sync(cold_shop.sku, 5)
    async with AsyncClient(cold_shop.url, KEYS["storefront"]) as client:
        with anyio.CancelScope() as scope:
            async with client.hold(sku, 2, customer_id="ann") as hold:
                scope.cancel()
                await anyio.sleep_forever()
        assert hold.reservation.status == "CANCELLED"
        assert (await client.get_reservation(hold.id)).status == "CANCELLED"
