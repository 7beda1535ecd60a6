"""lua/commands/availability.lua: every status in precedence order; it changes nothing."""

from __future__ import annotations

import pytest

from engine.results import StockLevel
from tests.scripts.machine import MINUTE_MS, START_MS, Machine, member


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10, safety=2, threshold=3)
    machine.stock("B", 5, active=False)
    return machine


def test_malformed(shop: Machine) -> None:
    assert shop.wild(["availability"], ["availability", 5], ["availability", "A"]) == ["malformed"] * 3


def test_unknown_sku_wins_over_due_holds_and_names_every_one(shop: Machine) -> None:
    shop.reserve("A=1")
    shop.later(MINUTE_MS)

    result = shop.availability("X=1,A=1,Y=1")

    assert (result.status, result.skus) == ("unknown_sku", ("X", "Y"))


def test_due_holds_end_before_anybody_is_told(shop: Machine) -> None:
    held = shop.reserve("A=1")
    shop.later(MINUTE_MS)

    assert shop.availability("A=1").status == "due_holds"
    assert shop.due == [member(held)]


def test_levels(shop: Machine) -> None:
    shop.reserve("A=3", ttl_ms=5_000)
    before = shop.dump()

    result = shop.availability("A=5,B=1")

    assert result.status == "ok"
    assert result.levels == (StockLevel("A", 10, 3, 2, 3, True), StockLevel("B", 5, 0, 0, 0, False))
    assert [level.available for level in result.levels] == [5, 5]
    assert shop.dump() == before


def test_a_short_sku_has_its_next_release(shop: Machine) -> None:
    shop.reserve("A=3", ttl_ms=5_000)

    assert shop.availability("A=6").levels[0].next_release_ms == START_MS + 5_000
    assert shop.availability("A=5").levels[0].next_release_ms == 0


def test_with_more_damaged_holds_than_can_be_named_nobody_waits_for_any(shop: Machine) -> None:
    shop.reserve("A=3")
    shop.later(MINUTE_MS)
    shop.damaged = ["*"]

    assert shop.availability("A=1").levels[0].reserved == 3
    assert shop.reserve("A=8").status == "insufficient_stock"
    assert shop.due == []
