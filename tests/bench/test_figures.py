"""A figure says whether its goal is met, in the direction that the goal was set."""

import pytest

from bench.figures import Comparison, Figure, markdown, number
from bench.rounds import compare, in_turn


def figure(ratio: float, comparison: Comparison, goal: float | None) -> Figure:
    return Figure(
        what="cost", rival="rival", unit="us", ours=1.0, ratio=ratio, comparison=comparison, goal=goal, command="c"
    )


@pytest.mark.parametrize(
    ("ratio", "comparison", "goal", "reached"),
    [
        (0.9, "<=", 1.0, True),
        (1.0, "<=", 1.0, True),
        (1.1, "<=", 1.0, False),
        (5.1, ">=", 5.0, True),
        (4.9, ">=", 5.0, False),
        (4.9, "", None, None),
    ],
)
def test_goal_holds_in_its_own_direction(
    ratio: float, comparison: Comparison, goal: float | None, reached: bool | None
) -> None:
    assert figure(ratio, comparison, goal).reached is reached


def test_goal_on_our_own_value_needs_no_rival() -> None:
    memory = Figure(
        what="memory", unit="bytes", ours=340, comparison="<=", goal=350, goal_on="ours", command="python -m x"
    )
    assert memory.reached is True
    assert "<= 350 bytes" in markdown([memory])


def test_medians_are_of_rounds_and_ratios_of_each_round() -> None:
    # The machine was twice as slow in the second round, for both: its ratio is like the others.
    found = compare([(10.0, 20.0), (20.0, 40.0), (11.0, 20.0)])
    assert (found.ours, found.theirs) == (11.0, 20.0)
    assert (found.ratio, found.lowest, found.highest) == (0.5, 0.5, 0.55)


def test_ours_and_the_rival_take_turns() -> None:
    turns: list[str] = []

    def turn(name: str) -> float:
        turns.append(name)
        return 1.0

    in_turn(3, lambda: turn("ours"), lambda: turn("theirs"))
    assert turns == ["ours", "theirs"] * 3


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.126, "0.13"), (12.34, "12.3"), (123.4, "123"), (70_000.0, "70,000")]
)
def test_numbers_keep_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text
