"""Counters damaged from outside: every verb says `inconsistent` and changes nothing; no number ever goes below zero."""

from __future__ import annotations

import pytest

from engine.commands import Expire
from engine.results import Result
from tests.scripts.machine import MINUTE_MS, START_MS, Machine, address, member


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    machine.stock("B", 10)
    return machine


@pytest.fixture
def held(shop: Machine) -> Result:
    held = shop.reserve("B=2,A=3")
    shop.damage("A", 10, 2)
    return held


VERBS = {
    "release": lambda shop, held: shop.release(held),
    "confirm": lambda shop, held: shop.confirm(held),
    "amend": lambda shop, held: shop.amend(held, "A=1"),
    "expire": lambda shop, held: shop.expire(held),
    "read": lambda shop, held: shop.read(held),
}


@pytest.mark.parametrize("verb", ["release", "confirm", "amend"])
def test_a_live_hold_that_the_counters_do_not_cover(shop: Machine, held: Result, verb: str) -> None:
    before = shop.dump()

    assert VERBS[verb](shop, held).status == "inconsistent"
    assert shop.dump() == before


@pytest.mark.parametrize("verb", VERBS)
def test_a_due_hold_that_the_counters_do_not_cover(shop: Machine, held: Result, verb: str) -> None:
    shop.later(MINUTE_MS)
    before = shop.dump()

    assert VERBS[verb](shop, held).status == "inconsistent"
    assert shop.dump() == before


@pytest.mark.parametrize("verb", ["release", "confirm", "amend"])
def test_counters_that_are_gone(shop: Machine, held: Result, verb: str) -> None:
    shop.client.hdel(shop.keys.stock, "A")
    before = shop.dump()

    assert VERBS[verb](shop, held).status == "inconsistent"
    assert shop.dump() == before


def test_a_late_sale_of_what_has_no_counters_any_more(shop: Machine) -> None:
    held = shop.reserve("B=2,A=3")
    shop.later(MINUTE_MS)
    shop.expire(held)
    shop.client.hdel(shop.keys.stock, "A")
    before = shop.dump()

    assert shop.confirm(held, late=True).status == "expired"
    assert shop.dump() == before


def test_a_sale_needs_the_units_on_hand(shop: Machine, held: Result) -> None:
    shop.damage("A", 2, 3)
    before = shop.dump()

    assert shop.confirm(held).status == "inconsistent"
    assert shop.dump() == before
    assert shop.release(held).status == "ok", "giving back needs only what is reserved"


def test_holds_that_are_covered_one_by_one_but_not_together(shop: Machine, held: Result) -> None:
    shop.damage("A", 10, 3)
    other = shop.reserve("A=2")
    shop.damage("A", 10, 4)
    before = shop.dump()

    assert shop.confirm(held, other).status == "inconsistent"
    assert shop.dump() == before
    assert shop.confirm(held).status == "ok"


def test_an_aged_out_hold_that_the_counters_do_not_cover(shop: Machine, held: Result) -> None:
    shop.client.delete(shop.record_key(held))
    shop.later(MINUTE_MS)
    before = shop.dump()

    assert shop.expire(held).status == "inconsistent"
    assert shop.dump() == before


def test_reserved_above_on_hand_sells_nothing(shop: Machine) -> None:
    shop.damage("A", 3, 7)

    result = shop.reserve("A=1")

    assert result.status == "insufficient_stock"
    assert result.shortages[0].available == 0
    assert shop.adjust(("A", "remove", 1)).status == "insufficient_stock"


def test_inconsistent_wins_over_an_unknown_sku(shop: Machine, held: Result) -> None:
    assert shop.amend(held, "NOPE=1").status == "inconsistent"


def test_a_member_left_behind_by_an_ended_hold(shop: Machine) -> None:
    """Somebody put the deadline back: it must not be due for ever, nor give units back that are not held."""
    held = shop.reserve("A=3")
    shop.release(held)
    shop.client.zadd(shop.keys.deadlines, {member(held): START_MS})
    shop.later(1)
    before = shop.dump()

    assert shop.one(Expire(address(held)[0], member(held))).status == "inconsistent"
    assert shop.dump() == before
