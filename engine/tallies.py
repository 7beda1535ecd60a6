"""What a batcher counts of its batches: how large, how long under way, and what came of each command.

Owns plain integers since the start of the process; never looks at a clock and never decides anything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from msgspec import Struct

SIZE_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of the histogram of batch sizes, commands."""
SECONDS_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds of the histogram of how long a batch was under way, from its sending to its answer."""

_first = itemgetter(0)


class Outcome(Struct, frozen=True, order=True):
    """Commands of one kind that were answered with one status."""

    command: str
    """Such as "reserve", "confirm", "expire"."""
    status: str
    """Of engine.results.Status; `due_holds` is a command that was asked again, its answer is counted as well."""
    count: int


class BatchTally:
    """The counts of one batcher."""

    def __init__(self) -> None:
        self.sizes = [0] * (len(SIZE_BOUNDS) + 1)
        """Batches per bucket of SIZE_BOUNDS, and one more for larger ones."""
        self.commands = 0
        self.durations = [0] * (len(SECONDS_BOUNDS) + 1)
        """The same for SECONDS_BOUNDS."""
        self.seconds = 0.0
        self._outcomes: Counter[tuple[type, str]] = Counter()

    def note(self, waiting: Sequence[tuple[Any, Any]], results: Sequence[Sequence[Any]], took_s: float) -> None:
        """One batch that was answered: its commands (first of each pair), their results (status first), its time."""
        size = len(results)
        self.sizes[bisect_left(SIZE_BOUNDS, size)] += 1
        self.commands += size
        self.durations[bisect_left(SECONDS_BOUNDS, took_s)] += 1
        self.seconds += took_s
        # Counted in C: a loop here would cost the hot path three times as much.
        self._outcomes.update(zip(map(type, map(_first, waiting)), map(_first, results), strict=True))

    def outcomes(self) -> list[Outcome]:
        """What came of the commands so far, by command and status."""
        found = [Outcome(kind.__name__.lower(), status, count) for (kind, status), count in self._outcomes.items()]
        return sorted(found)

    def by_command(self) -> dict[str, dict[str, int]]:
        """The same as command -> status -> count."""
        found: dict[str, dict[str, int]] = {}
        for one in self.outcomes():
            found.setdefault(one.command, {})[one.status] = one.count
        return found

    def count(self, command: str, *statuses: str) -> int:
        """Commands of one kind with one of these statuses."""
        return sum(one.count for one in self.outcomes() if one.command == command and one.status in statuses)
