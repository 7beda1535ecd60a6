"""Chapter 3: a hold ends exactly once: sold, given back, or by its deadline. Until then it can be changed."""

from __future__ import annotations

import pytest

from engine import Confirm, Engine, Rejected, Status
from engine.identity import split_id
from tests.fundamentals.conftest import Level


async def test_confirm_sells(shop: Engine, level: Level) -> None:
    hold = await shop.reserve([("CUP", 2)], customer_id="ann")

    sale = await shop.confirm(hold.id, order_id="order-17")

    assert (sale.status, sale.order_id) == ("COMPLETED", "order-17")
    cup = await level("CUP")
    assert (cup.on_hand, cup.reserved, cup.available) == (3, 0, 3)


async def test_one_order_of_several_holds_is_sold_whole_or_not_at_all(shop: Engine, level: Level) -> None:
    cups = await shop.reserve([("CUP", 2)], customer_id="ann")
    pots = await shop.reserve([("TEAPOT", 1)], customer_id="ann")
    await shop.release(pots.id)

    refused = await shop.execute(Confirm((split_id(cups.id), split_id(pots.id)), order_id="order-17"))

    assert refused.status == Status.NOT_ACTIVE
    assert [one.id for one in refused.reservations] == [pots.id], "the one that stands in the way"
    assert (await level("CUP")).on_hand == 5


async def test_release_gives_back(shop: Engine, level: Level) -> None:
    hold = await shop.reserve([("CUP", 2)], customer_id="ann")

    released = await shop.release(hold.id)

    assert released.status == "CANCELLED"
    assert (await level("CUP")).available == 5


async def test_amend_changes_lines_and_deadline(shop: Engine, level: Level) -> None:
    hold = await shop.reserve([("CUP", 2)], customer_id="ann", ttl_ms=60_000)

    changed = await shop.amend(hold.id, [("CUP", 1), ("TEAPOT", 2)], ttl_ms=120_000)

    assert changed.id == hold.id
    assert changed.lines == (("CUP", 1), ("TEAPOT", 2))
    assert changed.deadline_ms == changed.updated_ms + 120_000
    assert (await level("CUP")).reserved == 1


async def test_an_amend_that_does_not_fit_leaves_the_hold_whole(shop: Engine) -> None:
    hold = await shop.reserve([("CUP", 2)], customer_id="ann")

    with pytest.raises(Rejected) as refused:
        await shop.amend(hold.id, [("CUP", 6)])

    assert refused.value.result.shortages[0].available == 5, "what the hold has already counts for it"
    assert await shop.reservation(hold.id) == hold


async def test_a_deadline_ends_a_hold_and_nobody_has_to_be_awake(shop: Engine, level: Level) -> None:
    hold = await shop.reserve([("CUP", 5)], customer_id="ann", ttl_ms=60_000)
    shop.batcher.clock_ms += 60_000  # type: ignore[operator]

    taken = await shop.reserve([("CUP", 5)], customer_id="bob")

    assert taken.status == "ACTIVE"
    assert (await shop.reservation(hold.id)).status == "EXPIRED"
    assert (await level("CUP")).reserved == 5


async def test_an_expired_hold_is_not_sold(shop: Engine) -> None:
    hold = await shop.reserve([("CUP", 1)], customer_id="ann", ttl_ms=60_000)
    shop.batcher.clock_ms += 60_000  # type: ignore[operator]

    with pytest.raises(Rejected) as refused:
        await shop.confirm(hold.id)
    assert refused.value.result.status == Status.EXPIRED


async def test_a_late_confirm_may_take_the_stock_again_if_it_is_still_there(shop: Engine) -> None:
    early = await shop.reserve([("CUP", 3)], customer_id="ann", ttl_ms=60_000)
    late = await shop.reserve([("TEAPOT", 9)], customer_id="bob", ttl_ms=60_000)
    shop.batcher.clock_ms += 60_000  # type: ignore[operator]
    await shop.reserve([("TEAPOT", 2)], customer_id="cid")

    assert (await shop.confirm(early.id, late=True)).status == "COMPLETED"
    with pytest.raises(Rejected):
        await shop.confirm(late.id, late=True)


@pytest.mark.parametrize("first", ["confirm", "release"])
async def test_the_second_ending_loses(shop: Engine, first: str) -> None:
    hold = await shop.reserve([("CUP", 1)], customer_id="ann")
    second = {"confirm": "release", "release": "confirm"}[first]
    await getattr(shop, first)(hold.id)

    with pytest.raises(Rejected) as refused:
        await getattr(shop, second)(hold.id)
    assert refused.value.result.status == Status.NOT_ACTIVE
