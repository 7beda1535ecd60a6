"""Chapter 4: anything may be repeated. The first answer comes again, and nothing changes."""

from __future__ import annotations

import pytest

from engine import Adjust, Engine, Rejected, Status
from engine.identity import derived_base, fingerprint
from tests.fundamentals.conftest import Level


async def test_a_reserve_with_a_key_is_made_once(shop: Engine, level: Level) -> None:
    holds = [
        await shop.reserve([("CUP", 2)], customer_id="ann", caller="webshop", idempotency_key="cart-1")
        for _ in range(5)
    ]

    assert all(hold == holds[0] for hold in holds)
    assert (await level("CUP")).reserved == 2


async def test_the_same_key_for_another_request_is_a_mistake(shop: Engine) -> None:
    await shop.reserve([("CUP", 2)], customer_id="ann", caller="webshop", idempotency_key="cart-1")

    with pytest.raises(Rejected) as refused:
        await shop.reserve([("CUP", 3)], customer_id="ann", caller="webshop", idempotency_key="cart-1")
    assert refused.value.result.status == Status.KEY_REUSED


async def test_keys_of_two_callers_have_nothing_to_do_with_each_other(shop: Engine) -> None:
    one = await shop.reserve([("CUP", 2)], customer_id="ann", caller="webshop", idempotency_key="cart-1")
    other = await shop.reserve([("CUP", 3)], customer_id="bob", caller="kiosk", idempotency_key="cart-1")

    assert one.id != other.id


async def test_a_refusal_is_not_remembered(shop: Engine) -> None:
    """Nothing was taken, so the same request may succeed a moment later."""
    blocking = await shop.reserve([("CUP", 5)], customer_id="bob")
    with pytest.raises(Rejected):
        await shop.reserve([("CUP", 2)], customer_id="ann", caller="webshop", idempotency_key="cart-1")

    await shop.release(blocking.id)

    hold = await shop.reserve([("CUP", 2)], customer_id="ann", caller="webshop", idempotency_key="cart-1")
    assert hold.status == "ACTIVE"


async def test_confirm_and_release_repeat_without_a_key(shop: Engine, level: Level) -> None:
    sold = await shop.reserve([("CUP", 1)], customer_id="ann")
    given_back = await shop.reserve([("CUP", 1)], customer_id="ann")

    sales = [await shop.confirm(sold.id, order_id="order-1") for _ in range(3)]
    releases = [await shop.release(given_back.id) for _ in range(3)]

    assert all(sale == sales[0] for sale in sales)
    assert all(release == releases[0] for release in releases)
    cup = await level("CUP")
    assert (cup.on_hand, cup.reserved) == (4, 0)


async def test_an_adjustment_with_a_key_is_made_once(shop: Engine, level: Level) -> None:
    delivery = Adjust(
        derived_base("adjust", "admin", "delivery-7"),
        (("CUP", "add", 20),),
        "IN",
        "spring delivery",
        "Delivery",
        "D-7",
        "admin",
        fingerprint(b"20 cups, delivery 7"),
    )

    results = [await shop.execute(delivery) for _ in range(3)]

    assert [result.status for result in results] == [Status.OK, Status.REPLAYED, Status.REPLAYED]
    assert all(result.movements == results[0].movements for result in results)
    assert (await level("CUP")).on_hand == 25
