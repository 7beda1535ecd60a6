"""lua/commands/repair.lua: every status in precedence order, and what it writes."""

from __future__ import annotations

from typing import Any

import pytest

from engine.commands import Repair
from engine.events import Adjusted
from engine.results import Movement, Result
from tests.scripts.machine import START_MS, Machine


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    machine.stock("B", 5)
    machine.reserve("A=4")
    return machine


def unchanged(shop: Machine, status: str, *lines: tuple[str, int, int], base: str = "") -> Result:
    before = shop.dump()
    result = shop.repair(*lines, base=base)
    assert result.status == status
    assert shop.dump() == before
    return result


def test_counters_move_by_the_drift_and_the_journal_says_why(shop: Machine) -> None:
    shop.damage("A", 13, 3)

    result = shop.repair(("A", -3, 1), ("B", 0, 0))

    assert result.status == "ok"
    assert result.movements == (Movement("A", -3, 10, 4), Movement("B", 0, 5, 0))
    assert (shop.counters("A"), shop.counters("B")) == ((10, 4), (5, 0))
    assert shop.last_event() == Adjusted(
        result.adjustment_id,
        "A=-3=10=4,B=0=5=0",
        "ADJUSTMENT",
        "drift found",
        "Reconciliation",
        "drift-1",
        "admin",
    )
    assert result.first_seq == result.seq


def test_a_drift_is_the_same_after_other_changes(shop: Machine) -> None:
    shop.damage("A", 9, 4)
    shop.reserve("A=2")
    shop.adjust(("A", "add", 10))

    shop.repair(("A", 1, 0))

    assert shop.counters("A") == (20, 6)


def test_counters_that_no_command_could_have_left_are_put_right(shop: Machine) -> None:
    shop.damage("A", 2, 4)

    assert shop.repair(("A", 8, 0)).status == "ok"
    assert shop.counters("A") == (10, 4)


def test_repeated_it_is_done_once(shop: Machine) -> None:
    shop.damage("A", 13, 4)
    base = shop.base()
    first = shop.repair(("A", -3, 0), base=base)
    shop.later(50)

    again = unchanged(shop, "replayed", ("A", -3, 0), base=base)

    assert (again.movements, again.first_seq) == (first.movements, first.first_seq)
    assert again.adjustment_id == first.adjustment_id == f"{base}{START_MS:012x}"


def test_repeated_in_a_later_epoch_it_names_the_one_of_its_event(shop: Machine) -> None:
    base = shop.base()
    first = shop.repair(("A", 1, 0), base=base, epoch=1)
    shop.begin_epoch(2)

    again = unchanged(shop, "replayed", ("A", 1, 0), base=base)

    assert (first.first_epoch, again.epoch) == (1, 2)
    assert (again.first_epoch, again.first_seq) == (1, first.first_seq)


def test_a_drift_of_another_life_is_not_repaired_in_this_one(shop: Machine) -> None:
    """The rebuild between them has put it right already: taken back once more, it would be stock that never was."""
    shop.begin_epoch(2)
    before = shop.dump()

    for epoch in (1, 3):
        result = shop.repair(("A", 1, 0), ("B", 0, 0), epoch=epoch)
        assert (result.status, result.skus) == ("stock_moved", ("A", "B"))

    assert shop.dump() == before
    assert shop.repair(("A", 1, 0), epoch=2).status == "ok"


def test_unknown_sku_wins_over_stock_moved(shop: Machine) -> None:
    assert shop.repair(("X", 1, 0), epoch=7).status == "unknown_sku"


def test_its_event_is_counted_behind_those_of_the_batch_before_it(shop: Machine) -> None:
    shop.damage("A", 13, 4)
    before = int(shop.meta()["seq"])

    _, _, repaired = shop.run(
        shop.reserving("A=1"),
        shop.reserving("A=1"),
        Repair(shop.base(), (("A", -3, 0),), "drift found", "drift-1", "admin"),
    )

    assert (repaired.status, repaired.first_seq) == ("ok", before + 3)


def test_key_reused(shop: Machine) -> None:
    base = shop.base()
    shop.announce("stock.low", base=base)

    unchanged(shop, "key_reused", ("X", -99, 0), base=base)


@pytest.mark.parametrize("line", [("A", -7, 0), ("A", 0, 7), ("A", 0, -5), ("A", -11, 0), ("A", 10**12 - 9, 0)])
def test_what_would_break_the_counters_is_inconsistent(shop: Machine, line: tuple[str, int, int]) -> None:
    unchanged(shop, "inconsistent", ("B", 1, 0), line)


def test_inconsistent_wins_over_unknown_sku(shop: Machine) -> None:
    unchanged(shop, "inconsistent", ("X", 1, 0), ("A", -11, 0))


def test_unknown_sku_names_every_one(shop: Machine) -> None:
    assert unchanged(shop, "unknown_sku", ("X", 1, 0), ("A", 1, 0), ("Y", 1, 0)).skus == ("X", "Y")


@pytest.mark.parametrize(
    "lines",
    [
        [],
        None,
        "A=1",
        [["A", 1]],
        [["A", 1.5, 0]],
        [["A", float("nan"), 0]],
        [["A", 0, 2**63]],
        [["A", "1", 0]],
        [["A", 1, 0], ["A", 1, 0]],
        [[1, 1, 0]],
        [None],
    ],
    ids=str,
)
def test_malformed(shop: Machine, lines: Any) -> None:
    base = shop.base()
    before = shop.dump()

    assert shop.wild(["repair", base, lines, "why", "", "admin", 0], bases=[base]) == ["malformed"]
    assert shop.wild(["repair", base, [["A", 1, 0]], "why", None, "admin", 0], bases=[base]) == ["malformed"]
    assert shop.wild(["repair", "undeclared", [["A", 1, 0]], "why", "", "admin", 0], bases=[base]) == ["malformed"]
    for epoch in (-1, 1.5, "1", None):
        command = ["repair", base, [["A", 1, 0]], "why", "", "admin", epoch]
        assert shop.wild(command, bases=[base]) == ["malformed"]
    assert shop.dump() == before
