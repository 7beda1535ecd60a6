"""Latencies summed up: exact percentiles, a histogram with bars of equal ratio, and a line over time.

Owns the arithmetic. Never rounds in favour of anybody: percentiles are by nearest rank, over every request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from runtime.loadtest.observations import Seen, Verb

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 100.0)
BARS_PER_DECADE: Final = 5
TIME_BINS: Final = 120


class Summary(Struct, frozen=True):
    """Percentiles of some durations, in milliseconds."""

    count: int
    ms: tuple[float, ...]
    """In the order of PERCENTILES; the last is the maximum."""


class Bar(Struct, frozen=True):
    """Durations from `low_ms` (inclusive) to `high_ms`."""

    low_ms: float
    high_ms: float
    count: int


class TimeBin(Struct, frozen=True):
    """Requests scheduled from `at_s` on, until the next bin."""

    at_s: float
    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def summarize(durations_s: Iterable[float]) -> Summary:
    """Percentiles of durations in seconds; NaN where there are none."""
    ordered = sorted(durations_s)
    return Summary(len(ordered), tuple(1000 * percentile(ordered, rank) for rank in PERCENTILES))


def percentile(ordered: Sequence[float], rank: float) -> float:
    """The smallest value that at least `rank` per cent of the values do not exceed; NaN if there are none."""
    if not ordered:
        return math.nan
    # 99.9 % of 1,000 is 999.0000000000001 in floating point: take that off before rounding up.
    place = math.ceil(len(ordered) * rank / 100 - 1e-9)
    return ordered[max(1, place) - 1]


def latencies(seen: Iterable[Seen], verb: Verb) -> list[float]:
    """Seconds from the instant each request of a verb was meant to be sent to its final answer, repeats included."""
    return [one.answered_s - one.scheduled_s for one in seen if one.verb == verb and one.final]


def lateness(seen: Iterable[Seen]) -> list[float]:
    """Seconds by which the generator sent the arrivals too late."""
    first: dict[int, float] = {}
    for one in seen:
        if one.verb == Verb.RESERVE and one.repeat == 0:
            late = max(0.0, one.asked_s - one.scheduled_s)
            first[one.buyer] = max(late, first.get(one.buyer, 0.0))
    return list(first.values())


def histogram(durations_s: Sequence[float]) -> list[Bar]:
    """Bars from the fastest to the slowest, each 10^(1/5) times as wide as the one before."""
    counts: dict[int, int] = {}
    for duration in durations_s:
        step = math.floor(math.log10(max(duration * 1000, 1e-3)) * BARS_PER_DECADE)
        counts[step] = counts.get(step, 0) + 1
    if not counts:
        return []
    return [
        Bar(10 ** (step / BARS_PER_DECADE), 10 ** ((step + 1) / BARS_PER_DECADE), counts.get(step, 0))
        for step in range(min(counts), max(counts) + 1)
    ]


def over_time(seen: Iterable[Seen], verb: Verb, bins: int = TIME_BINS) -> list[TimeBin]:
    """Latencies by scheduled instant, in up to `bins` bins of equal width."""
    points = sorted(
        (one.scheduled_s, one.answered_s - one.scheduled_s) for one in seen if one.verb == verb and one.final
    )
    if not points:
        return []
    start, end = points[0][0], points[-1][0]
    width = max((end - start) / bins, 1e-3)
    grouped: dict[int, list[float]] = {}
    for at, duration in points:
        grouped.setdefault(min(bins - 1, int((at - start) / width)), []).append(duration)
    found = []
    for number in sorted(grouped):
        ordered = sorted(grouped[number])
        p50, p99, most = (1000 * percentile(ordered, rank) for rank in (50, 99, 100))
        found.append(TimeBin(number * width, len(ordered), p50, p99, most))
    return found
