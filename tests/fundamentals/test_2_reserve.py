"""Chapter 2: holding stock for a customer. Every line or none; never more than there is."""

from __future__ import annotations

import pytest

from engine import Engine, InvalidCommand, Rejected, Reserve, Status, lines_text
from engine.identity import random_base
from tests.fundamentals.conftest import Level


async def test_a_hold_takes_units_out_of_what_is_available(shop: Engine, level: Level) -> None:
    hold = await shop.reserve([("TEAPOT", 1), ("CUP", 4)], customer_id="ann", ttl_ms=600_000)

    assert hold.status == "ACTIVE"
    assert hold.lines == (("TEAPOT", 1), ("CUP", 4))
    assert hold.deadline_ms - hold.created_ms == 600_000
    cup = await level("CUP")
    assert (cup.on_hand, cup.reserved, cup.available) == (5, 4, 1)


async def test_a_sku_named_twice_is_summed(shop: Engine) -> None:
    hold = await shop.reserve([("CUP", 1), ("TEAPOT", 1), ("CUP", 2)], customer_id="ann")

    assert hold.lines == (("CUP", 3), ("TEAPOT", 1))


async def test_all_lines_or_none(shop: Engine, level: Level) -> None:
    with pytest.raises(Rejected) as refused:
        await shop.reserve([("TEAPOT", 11), ("CUP", 6)], customer_id="ann")

    assert refused.value.result.status == Status.INSUFFICIENT_STOCK
    assert [(short.sku, short.requested, short.available) for short in refused.value.result.shortages] == [
        ("TEAPOT", 11, 10),
        ("CUP", 6, 5),
    ], "every short line is named, not only the first"
    assert (await level("TEAPOT")).reserved == 0


async def test_a_shortage_says_when_the_next_units_may_come_back(shop: Engine) -> None:
    hold = await shop.reserve([("CUP", 5)], customer_id="ann", ttl_ms=60_000)

    with pytest.raises(Rejected) as refused:
        await shop.reserve([("CUP", 1)], customer_id="bob")

    (short,) = refused.value.result.shortages
    assert (short.available, short.next_release_ms) == (0, hold.deadline_ms)


async def test_as_much_as_there_is(shop: Engine) -> None:
    """With `execute` a partial hold comes with what could not be held."""
    result = await shop.execute(
        Reserve(
            random_base(),
            lines_text([("CUP", 8), ("TEAPOT", 1)]),
            60_000,
            partial=True,
            details='{"c":"ann"}',
        )
    )

    (hold,) = result.reservations
    assert hold.lines == (("CUP", 5), ("TEAPOT", 1))
    assert [(short.sku, short.requested, short.available) for short in result.shortages] == [("CUP", 8, 5)]


async def test_a_sku_nobody_made(shop: Engine) -> None:
    with pytest.raises(Rejected) as refused:
        await shop.reserve([("SAUCER", 1), ("CUP", 1), ("SPOON", 1)], customer_id="ann")

    assert refused.value.result.skus == ("SAUCER", "SPOON")


@pytest.mark.parametrize("lines", [[], [("CUP", 0)], [("CUP", -1)], [("CUP", 1.5)], [("CUP", True)], [("C=P", 1)]])
async def test_what_makes_no_sense_is_not_even_sent(shop: Engine, lines: list[tuple[str, int]]) -> None:
    with pytest.raises(InvalidCommand):
        await shop.reserve(lines, customer_id="ann")


async def test_one_owner_does_not_see_anothers_reservations(shop: Engine) -> None:
    hold = await shop.reserve([("CUP", 1)], customer_id="ann", caller="webshop")

    with pytest.raises(Rejected) as refused:
        await shop.reservation(hold.id, caller="other-shop")
    assert refused.value.result.status == Status.UNKNOWN_RESERVATION
    assert (await shop.reservation(hold.id, caller="webshop")) == hold
    assert (await shop.reservation(hold.id)) == hold, "no caller means an admin"
