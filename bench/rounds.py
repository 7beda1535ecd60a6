"""Ours and the rival in turn (A B A B): a machine that slows down or speeds up meanwhile meets both alike.

Owns the order of a comparison and its medians; never measures.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

from msgspec import Struct

from bench.figures import Comparison, Figure, GoalOn, print_table


class Scale(Struct, frozen=True):
    """How much is measured."""

    rounds: int = 3
    quick: bool = False
    """A smoke test: every part runs, the numbers mean nothing."""

    def of(self, full: int) -> int:
        """A count for this scale: `full`, or a twentieth of it in quick mode."""
        return max(1, full // 20) if self.quick else full

    def seconds(self, full: float) -> float:
        """A duration for this scale."""
        return min(full, 0.5) if self.quick else full


class Compared(Struct, frozen=True):
    """The outcome of the rounds. Medians."""

    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float

    def figure(
        self,
        *,
        what: str,
        rival: str,
        unit: str,
        command: str,
        comparison: Comparison = "",
        goal: float | None = None,
        goal_on: GoalOn = "ratio",
        note: str = "",
    ) -> Figure:
        """As a row of the table."""
        return Figure(
            what=what,
            rival=rival,
            unit=unit,
            ours=self.ours,
            theirs=self.theirs,
            ratio=self.ratio,
            lowest=self.lowest,
            highest=self.highest,
            comparison=comparison,
            goal=goal,
            goal_on=goal_on,
            note=note,
            command=command,
        )


def compare(pairs: Sequence[tuple[float, float]]) -> Compared:
    """Medians of (ours, theirs) a round, and of their ratio."""
    ratios = [ours / theirs for ours, theirs in pairs]
    return Compared(
        ours=statistics.median(ours for ours, _ in pairs),
        theirs=statistics.median(theirs for _, theirs in pairs),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
    )


def in_turn(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> Compared:
    """Run ours, theirs, ours, theirs, ... `rounds` times each."""
    return compare([(ours(), theirs()) for _ in range(rounds)])


def run_alone(measure: Callable[[Scale], list[Figure]], title: str) -> None:
    """The command line of one benchmark: `--quick`, `--rounds`."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="a smoke test, the numbers mean nothing")
    parser.add_argument("--rounds", type=int, default=3, help="how often ours and the rival take turns (default 3)")
    chosen = parser.parse_args()
    scale = Scale(rounds=1 if chosen.quick else chosen.rounds, quick=chosen.quick)
    print_table(measure(scale), title)
