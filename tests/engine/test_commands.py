"""engine/commands.py: lines as text and the wire form of commands."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.commands import Command, Confirm, Expire, Reserve, bases_of, encode_batch, lines_text, parse_lines
from engine.errors import InvalidCommand
from engine.limits import MAX_LINES, MAX_QUANTITY, SKU_PATTERN, is_sku

skus = st.from_regex(SKU_PATTERN.replace(r"\Z", r"\Z"), fullmatch=True).filter(is_sku)
lines = st.lists(st.tuples(skus, st.integers(1, 1_000_000)), min_size=1, max_size=20)


@given(lines)
def test_lines_come_back_summed_in_order_of_first_mention(given_lines: list[tuple[str, int]]) -> None:
    expected: dict[str, int] = {}
    for sku, quantity in given_lines:
        expected[sku] = expected.get(sku, 0) + quantity

    assert parse_lines(lines_text(given_lines)) == tuple(expected.items())


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [("A", 0)],
        [("A", -1)],
        [("A", MAX_QUANTITY + 1)],
        [("A", MAX_QUANTITY), ("A", 1)],
        [("A", True)],
        [("A", 1.0)],
        [("A", "1")],
        [("", 1)],
        [("A=1,B", 1)],
        [("A" * 65, 1)],
        [(f"S{n}", 1) for n in range(MAX_LINES + 1)],
    ],
    ids=lambda wrong: repr(wrong)[:30],
)
def test_lines_that_are_none(wrong: list[tuple[str, int]]) -> None:
    with pytest.raises(InvalidCommand):
        lines_text(wrong)


def test_the_most_that_is_allowed() -> None:
    assert lines_text([("A", MAX_QUANTITY)]) == f"A={MAX_QUANTITY}"
    assert lines_text([(f"S{n % MAX_LINES}", 1) for n in range(2 * MAX_LINES)]).count(",") == MAX_LINES - 1


def test_no_lines_are_no_text() -> None:
    assert parse_lines("") == ()


def test_a_batch_on_the_wire_is_arrays_verb_first() -> None:
    commands: list[Command] = [Reserve("b" * 24, "A=1", 5_000), Confirm((("c" * 24, 7),), "o-1")]

    assert msgspec.msgpack.decode(encode_batch(commands)) == [
        ["reserve", "b" * 24, "A=1", 5_000, False, "", "", "{}"],
        ["confirm", [["c" * 24, 7]], "o-1", "", "", False],
    ]


def test_bases() -> None:
    assert bases_of(Confirm((("a", 1), ("b", 2)))) == ("a", "b")
    assert bases_of(Expire("a", "member")) == ("a",)
    by_name = {one.__name__: one for one in get_args(Command)}
    assert bases_of(by_name["Availability"]("A=1")) == ()
