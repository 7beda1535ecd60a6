"""lua/commands/configure.lua: every status in precedence order, and what it writes."""

from __future__ import annotations

import pytest

from engine.commands import Configure
from engine.events import Adjusted, Configured
from engine.results import StockLevel
from tests.scripts.machine import Machine


@pytest.mark.parametrize("sku", ["A", "a.b_c:d-e", "0", "two words", "S" * 64])
def test_a_sku_is_made_with_its_opening_stock(machine: Machine, sku: str) -> None:
    result = machine.one(Configure(sku, 2, 3, True, 10, "ann"))

    assert (result.status, result.created) == ("ok", True)
    assert machine.level(sku) == StockLevel(sku, 10, 0, 2, 3, True)
    assert machine.entries()[-1].events == (
        Configured(f"{sku}=0=0=0", 2, 3, True, True, "ann"),
        Adjusted("", f"{sku}=10=10=0", "IN", "opening stock", "Product", sku, "ann"),
    )
    assert (result.first_seq, result.seq) == (1, 2)


def test_no_opening_stock_is_no_movement(machine: Machine) -> None:
    machine.one(Configure("A", 0, 0, True, 0, "ann"))

    assert machine.events() == [Configured("A=0=0=0", 0, 0, True, True, "ann")]


def test_settings_change_and_stock_does_not(machine: Machine) -> None:
    machine.stock("A", 10)
    machine.reserve("A=4")

    result = machine.one(Configure("A", 5, 6, False, 99, "ann"))

    assert (result.status, result.created) == ("ok", False)
    assert machine.level("A") == StockLevel("A", 10, 4, 5, 6, False)
    assert machine.last_event() == Configured("A=0=10=4", 5, 6, False, False, "ann")


def test_malformed_wins_over_the_stock_limit(machine: Machine) -> None:
    before = machine.dump()

    assert machine.one(Configure("A", -1, 0, True, 10**12 + 1, "ann")).status == "malformed"
    assert machine.dump() == before


@pytest.mark.parametrize(("initial", "status"), [(10**12, "ok"), (10**12 + 1, "stock_limit")])
def test_the_most_a_sku_may_hold(machine: Machine, initial: int, status: str) -> None:
    assert machine.one(Configure("A", 0, 0, True, initial, "ann")).status == status
    assert (machine.client.hget(machine.keys.stock, "A") is None) == (status == "stock_limit")


def test_first_seq_is_its_own_event_in_a_batch_of_many(machine: Machine) -> None:
    results = machine.run(
        Configure("A", 0, 0, True, 5, "ann"), Configure("B", 0, 0, True, 5, "ann"), Configure("A", 1, 0, True, 0, "ann")
    )

    # Each of the first two has its opening stock behind it.
    assert [result.first_seq for result in results] == [1, 3, 5]
