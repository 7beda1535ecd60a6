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


@pytest.mark.parametrize(
    ("keeps", "left"),
    [
        ("", (5, 6, False)),
        ("s", (2, 6, False)),
        ("t", (5, 3, False)),
        ("a", (5, 6, True)),
        ("st", (2, 3, False)),
        ("sta", (2, 3, True)),
    ],
)
def test_a_setting_may_be_kept(machine: Machine, keeps: str, left: tuple[int, int, bool]) -> None:
    machine.one(Configure("A", 2, 3, True, 10, "ann"))

    machine.one(Configure("A", 5, 6, False, 0, "ann", keeps))

    assert machine.level("A") == StockLevel("A", 10, 0, *left)
    # The ledger follows the event, which therefore says what is and not what was asked.
    assert machine.last_event() == Configured("A=0=10=0", *left, False, "ann")


def test_a_new_sku_has_nothing_to_keep(machine: Machine) -> None:
    machine.one(Configure("A", 5, 6, False, 10, "ann", "sta"))

    assert machine.level("A") == StockLevel("A", 10, 0, 5, 6, False)
    assert machine.events()[0] == Configured("A=0=0=0", 5, 6, False, True, "ann")


def test_a_kept_setting_is_that_of_the_batch(machine: Machine) -> None:
    machine.run(Configure("A", 2, 3, True, 0, "ann"), Configure("A", 7, 0, False, 0, "ann", "ta"))

    assert machine.level("A") == StockLevel("A", 0, 0, 7, 3, True)


def test_one_who_knows_of_no_keeping_sets_all(machine: Machine) -> None:
    """A process of the version before sends no such thing."""
    machine.one(Configure("A", 2, 3, True, 0, "ann"))
    assert machine.wild(["configure", "A", 5, 6, False, 0, "ann"]) == ["ok"]

    assert machine.level("A") == StockLevel("A", 0, 0, 5, 6, False)


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
