"""What is no quantity must never become stock: hostile values straight to the script, in every place that takes a
number. Each is malformed, and no key changes.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripts.machine import MINUTE_MS, Machine, address

ZERO, OTHER = "0" * 24, "f" * 24

AS_TEXT = (
    "0", "-1", "-0", "+1", "00", "01", "007", "1.0", "1.5", ".5", "1.", "1e3", "1E3", "1e-3", "0x10", "0X1F", "0b1",
    " 5", "5 ", " 5 ", "5\t", "5\n", "5\0", "\x0b5", "", "=", "=1", "1=", "1,", ",1", "1,1", "A=1,A=1", "nan", "NaN",
    "inf", "-inf", "Infinity", "1_000", "1,000", "1'000", "٣", "\uff11", "²", "½", "true", "nil", "null", "{}", "[]",
    "1;", "1--",
    "1)", "$1", "%d", "9" * 11, str(10**9 + 1), str(10**10), str(2**31 * 4), str(2**53), str(2**63), str(2**64),
    "9" * 5000,
)  # fmt: skip

AS_VALUE = (
    -1, 1.5, 0.1, -0.5, 10**9 + 0.5, 1e-300, float("nan"), float("inf"), float("-inf"),
    2**53, 2**53 + 2, 2**63, 2**64 - 1, -(2**63),
    1e300,
    "1", "5", "1e3", "0x10", " 5 ", "nan", "", None, True, False, [], [1], {}, {"n": 1}, [None],
)  # fmt: skip


def show(value: Any) -> str:
    return repr(value)[:24]


@pytest.fixture
def stocked(machine: Machine) -> Machine:
    machine.stock("A", 100)
    machine.stock("B", 100)
    return machine


def refused(machine: Machine, *commands: list[Any], bases: list[str]) -> None:
    before = machine.dump()
    statuses = machine.wild(*commands, bases=bases)
    assert statuses == ["malformed"] * len(commands)
    assert machine.dump() == before


def test_the_table_is_long_enough() -> None:
    assert len(set(AS_TEXT)) == len(AS_TEXT) >= 30
    assert len(AS_VALUE) >= 30


@pytest.mark.parametrize("text", AS_TEXT, ids=show)
def test_a_quantity_in_lines_text(stocked: Machine, text: str) -> None:
    held = stocked.reserve("A=2")
    base, created = address(held)
    fresh = stocked.base()
    lines = [f"A={text}", f"A=1,B={text}", f"B={text},A=1"]

    refused(
        stocked,
        *(["reserve", fresh, line, MINUTE_MS, False, "shop", "", "{}"] for line in lines),
        *(["reserve", fresh, line, MINUTE_MS, True, "shop", "", "{}"] for line in lines),
        *(["amend", base, created, line, MINUTE_MS, "shop", "shop"] for line in lines if line),
        *(["availability", line] for line in lines),
        *(["expire", base, f"{held.reservations[0].id} {line}"] for line in lines),
        bases=[fresh, base],
    )
    assert stocked.counters("A") == (100, 2)


@pytest.mark.parametrize("value", AS_VALUE, ids=show)
def test_a_number_in_its_own_field(stocked: Machine, value: Any) -> None:
    held = stocked.reserve("A=2")
    base, created = address(held)
    fresh = stocked.base()

    def adjusting(*lines: list[Any]) -> list[Any]:
        return ["adjust", fresh, list(lines), "IN", "reason", "Delivery", "1", "admin", "", 0, []]

    commands: list[list[Any]] = [
        ["reserve", fresh, "A=1", value, False, "shop", "", "{}"],
        ["amend", base, created, "A=1", value, "shop", "shop"],
        ["amend", base, created, "", value, "shop", "shop"],
        adjusting(["A", "add", value]),
        adjusting(["A", "remove", value]),
        adjusting(["B", "add", 1], ["A", "remove", value]),
        ["configure", "A", value, 0, True, 0, "admin"],
        ["configure", "A", 0, value, True, 0, "admin"],
    ]
    # A whole, exact number past the most a SKU may hold has an answer of its own where it would be its first stock.
    commands.append(adjusting(["A", "set", value]))
    if value != 2**53:
        commands.append(["configure", "C", 0, 0, True, value, "admin"])
    refused(stocked, *commands, bases=[fresh, base])
    assert stocked.counters("A") == (100, 2)


@pytest.mark.parametrize("value", [10**12 + 1, 1e14, 2**53], ids=show)
def test_more_than_a_sku_may_hold_never_becomes_stock(stocked: Machine, value: Any) -> None:
    fresh = stocked.base()
    before = stocked.dump()

    statuses = stocked.wild(
        ["configure", "C", 0, 0, True, value, "admin"],
        ["adjust", fresh, [["A", "set", value]], "ADJUSTMENT", "count", "", "", "admin", "", 0, []],
        bases=[fresh],
    )

    assert statuses == ["stock_limit", "malformed"]
    assert stocked.dump() == before


@pytest.mark.parametrize("value", [0, *AS_VALUE], ids=show)
def test_a_creation_time_that_is_no_time_finds_nothing(stocked: Machine, value: Any) -> None:
    held = stocked.reserve("A=2")
    base, _ = address(held)
    before = stocked.dump()

    statuses = stocked.wild(
        ["read", base, value, "shop"],
        ["release", base, value, "shop", "shop"],
        ["amend", base, value, "A=1", 0, "shop", "shop"],
        ["confirm", [[base, value]], "order", "shop", "shop", False],
        bases=[base],
    )

    assert statuses == ["unknown_reservation"] * 4
    assert stocked.dump() == before


@pytest.mark.parametrize(
    "command",
    [
        1, "reserve", [], [None], ["nothing"], [["reserve"]], ["reserve"], ["amend"], ["confirm"], ["release"],
        ["expire"], ["read"], ["availability"], ["adjust"], ["configure"], ["confirm", []], ["confirm", {}],
        ["confirm", [1]], ["confirm", [[]]], ["confirm", [[None, None]]], ["reserve", 1, 2, 3, 4, 5, 6, 7],
        ["reserve", None, "A=1", 60000, False, "", "", "{}"], ["reserve", ZERO, None, 60000, False, "", "", "{}"],
        ["reserve", ZERO, "A=1", 60000, False, None, "", "{}"], ["reserve", ZERO, "A=1", 60000, False, "", 1, "{}"],
        ["reserve", ZERO, "A=1", 60000, False, "", "", {}], ["reserve", OTHER, "A=1", 60000, False, "", "", "{}"],
        ["adjust", ZERO, [], "IN", "", "", "", "", "", 0, []],
        ["adjust", ZERO, [["A", "add", 1]], "GIFT", "", "", "", "", "", 0, []],
        ["adjust", ZERO, [["A", "double", 1]], "IN", "", "", "", "", "", 0, []], ["adjust", ZERO, ["A"],
        "IN", "", "", "", "", "", 0, []],
        ["adjust", ZERO, [["A", "add", 1], ["A", "add", 1]], "IN", "", "", "", "", "", 0, []],
        ["adjust", ZERO, [["A", "add", 1]], "IN", None, "", "", "", "", 0, []], ["configure", "A", 0, 0, 1, 0, "admin"],
        ["configure", " A", 0, 0, True, 0, "admin"], ["configure", "A  B", 0, 0, True, 0, "admin"],
        ["configure", "A,B", 0, 0, True, 0, "admin"], ["configure", "A=B", 0, 0, True, 0, "admin"],
        ["configure", "é", 0, 0, True, 0, "admin"], ["configure", "S" * 65, 0, 0, True, 0, "admin"],
        ["configure", "", 0, 0, True, 0, "admin"], ["configure", "A\n", 0, 0, True, 0, "admin"],
        ["configure", "A", 0, 0, True, 0, None], {"verb": "reserve"}, True, 1.5,
    ],
    ids=lambda command: repr(command)[:60],
)  # fmt: skip
def test_a_shape_that_no_struct_makes(stocked: Machine, command: Any) -> None:
    refused(stocked, command, bases=[ZERO])


def test_two_thousand_and_one_adjustment_lines(stocked: Machine) -> None:
    lines = [[f"S{n}", "add", 1] for n in range(2_001)]

    refused(stocked, ["adjust", ZERO, lines, "IN", "", "", "", "", "", 0, []], bases=[ZERO])


def test_one_thousand_and_one_reservations_to_confirm(stocked: Machine) -> None:
    reservations = [[f"{n:024x}", 1] for n in range(1_001)]

    refused(stocked, ["confirm", reservations, "", "", "", False], bases=[ZERO])


def test_the_largest_numbers_that_are_allowed(machine: Machine) -> None:
    machine.stock("A", 10**12, safety=0)

    held = machine.reserve("A=1000000000")
    assert machine.confirm(held).status == "ok"

    assert machine.counters("A") == (10**12 - 10**9, 0)
    assert machine.last_event().lines == f"A=1000000000={10**12 - 10**9}=0"
    assert machine.adjust(("A", "add", 10**9)).status == "ok"
    assert machine.adjust(("A", "add", 1)).status == "stock_limit"
    assert machine.counters("A") == (10**12, 0)
