"""Chapter 1: what is on the shelf: on_hand units, some reserved; the rest, less a safety stock, is available."""

from __future__ import annotations

import pytest

from engine import Adjust, Configure, Engine, Rejected, Status
from engine.identity import random_base
from tests.fundamentals.conftest import Level


async def test_a_product_is_made_with_its_opening_stock(engine: Engine, level: Level) -> None:
    made = await engine.execute(
        Configure("TEAPOT", safety_stock=0, low_stock_threshold=3, active=True, initial_stock=10, actor="admin")
    )

    assert (made.status, made.created) == (Status.OK, True)
    teapot = await level("TEAPOT")
    assert (teapot.on_hand, teapot.reserved, teapot.available) == (10, 0, 10)


async def test_a_delivery_comes_in_and_a_breakage_goes_out(shop: Engine, level: Level) -> None:
    delivery = Adjust(
        random_base(),
        lines=(("TEAPOT", "add", 20), ("CUP", "add", 40)),
        transaction_type="IN",
        reason="spring delivery",
        reference_type="Delivery",
        reference_id="D-7",
        actor="admin",
    )
    broken = Adjust(random_base(), (("CUP", "remove", 1),), "DAMAGE", "dropped", "", "", "admin")

    results = await shop.apply([delivery, broken])

    assert [result.status for result in results] == [Status.OK, Status.OK]
    assert [(move.sku, move.quantity, move.on_hand) for move in results[0].movements] == [
        ("TEAPOT", 20, 30),
        ("CUP", 40, 45),
    ]
    assert (await level("CUP")).on_hand == 44


async def test_a_stock_count_sets_what_is_there(shop: Engine, level: Level) -> None:
    counted = await shop.execute(Adjust(random_base(), (("CUP", "set", 3),), "ADJUSTMENT", "count", "", "", "admin"))

    assert counted.movements[0].quantity == -2
    assert (await level("CUP")).on_hand == 3


async def test_what_customers_hold_cannot_be_taken_from_the_shelf(shop: Engine, level: Level) -> None:
    await shop.reserve([("CUP", 4)], customer_id="ann")

    refused = await shop.execute(Adjust(random_base(), (("CUP", "remove", 2),), "DAMAGE", "dropped", "", "", "admin"))

    assert refused.status == Status.INSUFFICIENT_STOCK
    assert (await level("CUP")).on_hand == 5


async def test_safety_stock_is_kept_back(shop: Engine, level: Level) -> None:
    await shop.execute(
        Configure("CUP", safety_stock=2, low_stock_threshold=0, active=True, initial_stock=0, actor="admin")
    )

    assert (await level("CUP")).available == 3
    with pytest.raises(Rejected):
        await shop.reserve([("CUP", 4)], customer_id="ann")


async def test_an_inactive_product_is_not_sold(shop: Engine) -> None:
    await shop.execute(
        Configure("CUP", safety_stock=0, low_stock_threshold=0, active=False, initial_stock=0, actor="admin")
    )

    with pytest.raises(Rejected) as refused:
        await shop.reserve([("CUP", 1)], customer_id="ann")
    assert refused.value.result.status == Status.PRODUCT_INACTIVE
