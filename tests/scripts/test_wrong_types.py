"""Every field of every verb with a value of a wrong type: malformed, no error of the script, no key changed.

The commands are whole: each is shown to be good as it stands, or a wrong field would be refused for another reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scripts.machine import MINUTE_MS, Machine, address

NO_TEXT = (None, 7, True, [], {"n": 1})
NO_TABLE = (None, 7, True, "x")
NO_NUMBER = (None, "5", True, [], 1.5, -(2**53))
NO_BOOLEAN = (None, 1, "x", [])

FRESH, OLD, UNDECLARED = "e" * 24, "<base>", "d" * 24
"""OLD stands for the base of a hold of A=2, CREATED for when it was made."""
CREATED = "<created>"

NO_BASE = (*NO_TEXT, UNDECLARED)

WHOLE: dict[str, tuple[list[Any], dict[int, tuple[Any, ...]]]] = {
    "reserve": (
        ["reserve", FRESH, "A=1", MINUTE_MS, False, "shop", "", "{}"],
        {1: NO_BASE, 2: NO_TEXT, 3: NO_NUMBER, 5: NO_TEXT, 6: NO_TEXT, 7: NO_TEXT},
    ),
    "amend": (
        ["amend", OLD, CREATED, "A=1", MINUTE_MS, "shop", "shop"],
        {1: NO_TEXT, 3: NO_TEXT, 4: NO_NUMBER, 5: NO_TEXT, 6: NO_TEXT},
    ),
    "confirm": (
        ["confirm", [[OLD, CREATED]], "order", "shop", "shop", False],
        {
            1: (*NO_TABLE, [], [None], [7], ["x"], [[None, 1]], [[7, 1]], [[[], 1]], [[FRESH, 1], [FRESH, 1]]),
            2: NO_TEXT,
            3: NO_TEXT,
            4: NO_TEXT,
        },
    ),
    "release": (["release", OLD, CREATED, "shop", "shop"], {1: NO_TEXT, 3: NO_TEXT, 4: NO_TEXT}),
    "expire": (["expire", OLD, "<member>"], {1: NO_BASE, 2: (*NO_TEXT, "", "A=2", OLD)}),
    "read": (["read", OLD, CREATED, "shop"], {1: NO_TEXT, 3: NO_TEXT}),
    "availability": (["availability", "A=1"], {1: (*NO_TEXT, "")}),
    "adjust": (
        [
            "adjust",
            FRESH,
            [["A", "add", 1], ["B", "set", 0]],
            "IN",
            "why",
            "Delivery",
            "d",
            "admin",
            "",
            101,
            [-1, 100],
        ],
        {
            1: NO_BASE,
            2: (
                *NO_TABLE,
                [],
                [7],
                ["A"],
                [[7, "add", 1]],
                [[None, "add", 1]],
                [["A", "add", 1], ["A", "add", 1]],
                [["A", "add", 1], ["A", "remove", 1]],
                [["A", 7, 1], ["B", "set", 0]],
                [["A", "add", 0], ["B", "set", 0]],
                [["A", "remove", 0], ["B", "set", 0]],
                [["A", "add", "1"], ["B", "set", 0]],
                [["A", "add", 10**9 + 1], ["B", "set", 0]],
                [["A", "remove", 10**9 + 1], ["B", "set", 0]],
                [["A", "set", -1], ["B", "set", 0]],
                [["A", "set", 10**12 + 1], ["B", "set", 0]],
            ),
            3: (*NO_TEXT, "", "GIFT"),
            4: NO_TEXT,
            5: NO_TEXT,
            6: NO_TEXT,
            7: NO_TEXT,
            8: NO_TEXT,
            9: (*NO_NUMBER, -1, 2**53 + 2),
            10: (*NO_TABLE, [1], [1, 1, 1], [-2, 1], [1, -2], [1.5, 1], [10**12 + 1, 1], ["1", 1]),
        },
    ),
    "configure": (
        ["configure", "C", 0, 0, True, 5, "admin", ""],
        {
            1: NO_TEXT,
            2: (*NO_NUMBER, -1, 10**9 + 1),
            3: (*NO_NUMBER, -1, 10**9 + 1),
            4: NO_BOOLEAN,
            5: (*NO_NUMBER, -1),
            6: NO_TEXT,
            7: NO_TEXT[1:],
        },
    ),
    "announce": (
        ["announce", FRESH, "stock.low", "{}", "worker"],
        {1: NO_BASE, 2: (*NO_TEXT, ""), 3: NO_TEXT, 4: NO_TEXT},
    ),
    "repair": (
        ["repair", FRESH, [["A", 1, 0], ["B", 1, 0]], "why", "drift-1", "admin", 1],
        {
            1: NO_BASE,
            2: (
                *NO_TABLE,
                [],
                [7],
                ["A"],
                [[7, 1, 1]],
                [[None, 1, 1]],
                [["A", 1, 0], ["A", 1, 0]],
                [["A", "1", 0]],
                [["A", 1, "0"]],
                [["A", 1.5, 0]],
                [["A", 1, 0.5]],
                [["A", 10**12 + 1, 0]],
                [["A", -(10**12) - 1, 0]],
                [["A", 1, 10**12 + 1]],
                [["A", 1, -(10**12) - 1]],
            ),
            3: NO_TEXT,
            4: NO_TEXT,
            5: NO_TEXT,
            6: (*NO_NUMBER, -1, 2**53 + 2),
        },
    ),
}


@pytest.fixture
def filled(machine: Machine) -> Callable[[Any], Any]:
    """Two SKUs and a hold; gives a function that puts its base, time and member where they are named."""
    machine.stock("A", 100)
    machine.stock("B", 100)
    held = machine.reserve("A=2")
    base, created = address(held)
    known = {OLD: base, CREATED: created, "<member>": f"{held.reservations[0].id} A=2"}

    def put_in(value: Any) -> Any:
        if isinstance(value, list):
            return [put_in(one) for one in value]
        return known.get(value, value) if isinstance(value, str) else value

    return put_in


@pytest.mark.parametrize("verb", WHOLE)
def test_good_as_it_stands(machine: Machine, filled: Callable[[Any], Any], verb: str) -> None:
    command, _ = WHOLE[verb]
    (status,) = machine.wild(filled(command), bases=[FRESH, filled(OLD)])
    assert status == ("not_due" if verb == "expire" else "ok")


@pytest.mark.parametrize(("verb", "field"), [(verb, field) for verb, (_, wrong) in WHOLE.items() for field in wrong])
def test_a_wrong_field(machine: Machine, filled: Callable[[Any], Any], verb: str, field: int) -> None:
    command, wrong = WHOLE[verb]
    before = machine.dump()
    for value in wrong[field]:
        bad = filled([*command[:field], value, *command[field + 1 :]])
        assert machine.wild(bad, bases=[FRESH, filled(OLD)]) == ["malformed"], value
    assert machine.dump() == before


def test_a_verb_that_is_none(machine: Machine) -> None:
    assert machine.wild(["steal"], [None], 7, [["reserve"]]) == ["malformed"] * 4
