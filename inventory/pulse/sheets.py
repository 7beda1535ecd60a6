"""What one process tells of itself each second. Plain data: the writer makes it, the reader puts many together.

Owns the format on the board. A sheet that this version cannot read is left out, so that two versions may run together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeVar

from msgspec import Struct

N = TypeVar("N", str, int)

LATENCY_BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram, seconds."""

MOST_SKUS: Final = 200
"""SKUs whose lost demand one process tells."""


class Counts(Struct, frozen=True, kw_only=True):
    """What a process has counted, since its start or within some seconds."""

    requests: int = 0
    """Answers given, whatever they were."""
    errors: int = 0
    """Of these, with status 500 and above."""
    problems: dict[str, int] = {}
    """Problem code -> answers that carried it, items of a batch included."""
    outcomes: dict[str, dict[str, int]] = {}
    """Command -> status of the state machine -> how often: `outcomes["reserve"]["ok"]` are the holds that were made."""
    latency: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS_S) + 1)
    """Answers of the hot path per bucket of LATENCY_BOUNDS_S, and one more for what took longer."""
    batches: int = 0
    commands: int = 0
    """That travelled in those batches."""
    batch_seconds: float = 0.0
    """From the sending of a batch to its answer, summed."""

    def outcome(self, command: str, *statuses: str) -> int:
        """Commands of one kind that were answered with one of these statuses."""
        found = self.outcomes.get(command, {})
        return sum(found.get(status, 0) for status in statuses)

    def since(self, before: Counts) -> Counts:
        """What came between an earlier moment of the same process and this one."""
        return Counts(
            requests=self.requests - before.requests,
            errors=self.errors - before.errors,
            problems=_differences(self.problems, before.problems),
            outcomes={
                command: found
                for command, counted in self.outcomes.items()
                if (found := _differences(counted, before.outcomes.get(command, {})))
            },
            latency=tuple(a - b for a, b in zip(self.latency, before.latency, strict=True)),
            batches=self.batches - before.batches,
            commands=self.commands - before.commands,
            batch_seconds=self.batch_seconds - before.batch_seconds,
        )


class FlusherSheet(Struct, frozen=True):
    """What the flusher says of itself."""

    state: str
    """`running`, `halted` or `stopped`."""
    reason: str
    """Why it does not go on; empty when it does."""
    seq: int
    lag_events: int
    lag_ms: int
    quarantined: int


class SweeperSheet(Struct, frozen=True):
    """What the sweeper says of itself."""

    expired: int
    lag_ms: int
    """How long the oldest hold that it found due had been due."""
    stuck: int
    paused: bool
    waiting: bool


class ProcessPulse(Struct, frozen=True, kw_only=True):
    """One process at one moment."""

    process: str
    """Its name, such as `api-1`."""
    role: Literal["api", "worker"]
    host: str
    pid: int
    at_ms: int
    """The Redis server's clock, as this process knows it."""
    started_at_ms: int
    total: Counts
    recent: Counts
    window_s: float
    """How many seconds `recent` tells of."""
    queue_depth: int = 0
    in_flight: int = 0
    connections: int = 0
    streams: int = 0
    """Event streams that are open."""
    pool_in_use: int = 0
    """Postgres connections handed out."""
    pool_size: int = 0
    memory_bytes: int = 0
    redis_connected: bool = True
    refusal: str = ""
    """Why it serves nothing; empty when it does."""
    journal_full: bool = False
    flusher: FlusherSheet | None = None
    sweeper: SweeperSheet | None = None


class LostDemand(Struct, frozen=True):
    """What customers asked for of one SKU and did not get, in one process since its start."""

    sku: str
    requests: int
    units: int
    """Asked for in lines that were short. A customer who tries again is counted again."""
    at_ms: int
    """Of the latest; the Redis server's clock."""


def _differences(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: grown for name, count in now.items() if (grown := count - before.get(name, 0))}


def added(all_counts: Sequence[dict[N, int]]) -> dict[N, int]:
    """The sum of several counts, name by name."""
    total: dict[N, int] = {}
    for counts in all_counts:
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total
