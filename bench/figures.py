"""What a benchmark finds: one figure a question, with its goal, as a table for people and as JSON.

Owns the form of results; never measures.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec import Struct
from rich.console import Console
from rich.table import Table

Comparison = Literal["<=", ">=", ""]
GoalOn = Literal["ratio", "ours"]

_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {"<=": operator.le, ">=": operator.ge}


class Figure(Struct, frozen=True, kw_only=True):
    """One answer. `ours` and `theirs` are medians over the rounds; `ratio` is the median of each round's own ratio."""

    what: str
    rival: str = ""
    unit: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    lowest: float | None = None
    """The lowest and the highest ratio of a round."""
    highest: float | None = None
    comparison: Comparison = ""
    goal: float | None = None
    goal_on: GoalOn = "ratio"
    note: str = ""
    command: str

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met; None when the figure has none."""
        value = self.ratio if self.goal_on == "ratio" else self.ours
        if self.goal is None or value is None:
            return None
        return _HOLDS[self.comparison](value, self.goal)


def number(value: float | None) -> str:
    """Three digits that matter, thousands grouped."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cells(figure: Figure) -> tuple[str, ...]:
    spread = ""
    if figure.lowest is not None and figure.highest is not None and figure.lowest != figure.highest:
        spread = f" ({number(figure.lowest)}-{number(figure.highest)})"
    goal = "" if figure.goal is None else f"{figure.comparison} {number(figure.goal)}"
    if goal and figure.goal_on == "ours":
        goal += f" {figure.unit}"
    verdict = {True: "yes", False: "no", None: ""}[figure.reached]
    theirs = "" if figure.theirs is None else f"{number(figure.theirs)} {figure.unit}"
    ratio = "" if figure.ratio is None else number(figure.ratio) + spread
    return (figure.what, f"{number(figure.ours)} {figure.unit}", figure.rival, theirs, ratio, goal, verdict)


_HEAD: Final = ("what", "Holdfast", "compared with, same run", "the rival", "ratio (rounds)", "goal", "reached")


def print_table(figures: Sequence[Figure], title: str) -> None:
    """Print the figures for a person at a terminal."""
    table = Table(*_HEAD, title=title, show_lines=True)
    styles = {True: "green", False: "red", None: ""}
    for figure in figures:
        table.add_row(*_cells(figure)[:-1], f"[{styles[figure.reached]}]{_cells(figure)[-1]}" if figure.goal else "")
    # Without a terminal rich assumes 80 columns, too few for this table.
    console = Console() if sys.stdout.isatty() else Console(width=170)
    console.print(table)
    for figure in figures:
        if figure.note:
            console.print(f"{figure.what}: {figure.note}", style="dim", highlight=False)


def markdown(figures: Sequence[Figure]) -> str:
    """The figures as a markdown table, with the notes and the command of each below."""
    rows = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    rows += ["| " + " | ".join(_cells(figure)) + " |" for figure in figures]
    notes = [f"- {figure.what}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*rows, "", *notes])
