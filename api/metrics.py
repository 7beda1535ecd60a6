"""Counters of an API process: plain integers where requests are answered, and what its siblings have counted.

Owns the counting and the shared folder; what Prometheus reads is made of it by exposition.py. Never blocks and never
allocates on the hot path. The API processes of one service leave their counters in a shared directory, so that
whichever of them is scraped answers for all; a process that is started again goes on from what its file says, so that
the sum never falls.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from api.lost_demand import LostDemandCounts
from engine.tallies import SECONDS_BOUNDS, SIZE_BOUNDS, BatchTally
from inventory.pulse.sheets import LATENCY_BOUNDS_S, Counts, added

BUCKETS_S: Final = LATENCY_BOUNDS_S
"""Upper bounds of the latency histogram, seconds."""
STALE_S: Final = 10.0
"""A process that has published nothing for this long has no state any more; what it has counted stands."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """The counters of one process at one moment."""

    process: str = ""
    at_s: float = 0.0
    """Unix time."""
    requests: dict[str, dict[int, int]] = {}
    """endpoint -> status -> answers."""
    durations: dict[str, list[int]] = {}
    """endpoint -> answers per bucket of BUCKETS_S, and one more for what took longer."""
    seconds: dict[str, float] = {}
    """endpoint -> time spent, summed."""
    problems: dict[str, dict[str, int]] = {}
    """endpoint -> problem code -> answers, or items of a batch."""
    outcomes: dict[str, dict[str, int]] = {}
    """command -> status of the state machine -> how often."""
    batch_sizes: tuple[int, ...] = (0,) * (len(SIZE_BOUNDS) + 1)
    """Batches per bucket of engine.tallies.SIZE_BOUNDS, and one more."""
    batch_commands: int = 0
    batch_durations: tuple[int, ...] = (0,) * (len(SECONDS_BOUNDS) + 1)
    batch_seconds: float = 0.0
    lost_lines: int = 0
    lost_units: int = 0
    state: dict[str, float] = {}
    """Name of a gauge (without prefix) -> its value now."""


class EndpointCounts:
    """Counts of one endpoint in this process."""

    __slots__ = ("_lost", "buckets", "problems", "seconds", "statuses")

    def __init__(self, lost: LostDemandCounts) -> None:
        self._lost = lost
        self.statuses: defaultdict[int, int] = defaultdict(int)
        self.problems: defaultdict[str, int] = defaultdict(int)
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0

    def count(self, status: int, duration_s: float) -> None:
        """Note one answer."""
        self.statuses[status] += 1
        self.buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        self.seconds += duration_s

    def refuse(self, code: str, extra: dict[str, Any] | None) -> None:
        """Note what was refused, by its problem's code; `extra`: the members of its document."""
        self.problems[code] += 1
        if code == "insufficient-stock" and extra is not None:
            self._lost.count(extra["shortages"])


class Metrics:
    """All counters of this process, and those that its siblings have left.

    `directory`: where they leave them; `process`: this one's name there, unique among those that run (empty: one is
    made up).
    """

    def __init__(self, directory: Path | None = None, process: str = "") -> None:
        self.process = process or f"api-{os.getpid()}-{os.urandom(4).hex()}"
        self._endpoints: dict[str, EndpointCounts] = {}
        self._hot: set[str] = set()
        self.lost = LostDemandCounts()
        self._tally = BatchTally()
        self._state: Callable[[], dict[str, float]] = dict
        self.directory = directory
        self._own = f"{self.process}.json"
        self._before = self._left_before()

    def watch(self, tally: BatchTally, state: Callable[[], dict[str, float]]) -> None:
        """From now on count what an engine does too, and show these gauges."""
        self._tally, self._state = tally, state

    def endpoint(self, name: str, *, hot: bool = False) -> EndpointCounts:
        """The counts of an endpoint, made on first mention; `hot`: its latency is the hot path's."""
        if hot:
            self._hot.add(name)
        if name not in self._endpoints:
            self._endpoints[name] = EndpointCounts(self.lost)
        return self._endpoints[name]

    def counts(self) -> Counts:
        """What the pulse tells of this process."""
        endpoints, tally = self._endpoints.values(), self._tally
        latency = [0] * (len(BUCKETS_S) + 1)
        for name in self._hot:
            latency = [a + b for a, b in zip(latency, self._endpoints[name].buckets, strict=True)]
        return Counts(
            requests=sum(sum(one.statuses.values()) for one in endpoints),
            errors=sum(n for one in endpoints for status, n in one.statuses.items() if status >= 500),
            problems=added([one.problems for one in endpoints]),
            outcomes=tally.by_command(),
            latency=tuple(latency),
            batches=sum(tally.sizes),
            commands=tally.commands,
            batch_seconds=tally.seconds,
        )

    def snapshot(self) -> Snapshot:
        """The counters of this process now, with what it had counted before it was started again."""
        tally = self._tally
        now = Snapshot(
            process=self.process,
            at_s=time.time(),
            requests={name: dict(counts.statuses) for name, counts in self._endpoints.items()},
            durations={name: list(counts.buckets) for name, counts in self._endpoints.items()},
            seconds={name: counts.seconds for name, counts in self._endpoints.items()},
            problems={name: dict(counts.problems) for name, counts in self._endpoints.items()},
            outcomes=tally.by_command(),
            batch_sizes=tuple(tally.sizes),
            batch_commands=tally.commands,
            batch_durations=tuple(tally.durations),
            batch_seconds=tally.seconds,
            lost_lines=self.lost.lines,
            lost_units=self.lost.units,
            state={name: float(value) for name, value in self._state().items()},
        )
        return now if self._before is None else together([self._before, now])

    def publish(self) -> None:
        """Leave this process's counters where its siblings find them. A reader never sees half a file."""
        if self.directory is None:
            return
        unfinished = self.directory / f".{self._own}"
        unfinished.write_bytes(msgspec.json.encode(self.snapshot()))
        unfinished.replace(self.directory / self._own)

    def everybodys(self) -> list[Snapshot]:
        """This process's counters now, and what the others have left; their state only while it is fresh."""
        found = [self.snapshot()]
        if self.directory is None:
            return found
        now = time.time()
        for path in sorted(self.directory.glob("*.json")):
            if path.name == self._own or path.name.startswith("."):
                continue
            try:
                other = msgspec.json.decode(path.read_bytes(), type=Snapshot)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # of another version, which the folder of a service that is being upgraded may hold
            found.append(other if now - other.at_s < STALE_S else msgspec.structs.replace(other, state={}))
        return found

    def _left_before(self) -> Snapshot | None:
        if self.directory is None or not (self.directory / self._own).exists():
            return None
        try:
            return msgspec.json.decode((self.directory / self._own).read_bytes(), type=Snapshot)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None  # of another version: counting begins anew, as it does for Prometheus


def together(snapshots: list[Snapshot]) -> Snapshot:
    """The sum of all counters; the state is the last one's."""
    total = snapshots[0]
    for one in snapshots[1:]:
        total = Snapshot(
            process=one.process,
            at_s=one.at_s,
            requests=_added_twice(total.requests, one.requests),
            durations=_added_lists(total.durations, one.durations),
            seconds={
                name: total.seconds.get(name, 0.0) + one.seconds.get(name, 0.0) for name in total.seconds | one.seconds
            },
            problems=_added_twice(total.problems, one.problems),
            outcomes=_added_twice(total.outcomes, one.outcomes),
            batch_sizes=tuple(a + b for a, b in zip(total.batch_sizes, one.batch_sizes, strict=True)),
            batch_commands=total.batch_commands + one.batch_commands,
            batch_durations=tuple(a + b for a, b in zip(total.batch_durations, one.batch_durations, strict=True)),
            batch_seconds=total.batch_seconds + one.batch_seconds,
            lost_lines=total.lost_lines + one.lost_lines,
            lost_units=total.lost_units + one.lost_units,
            state=one.state,
        )
    return total


def _added_twice(one: dict[str, dict[Any, int]], other: dict[str, dict[Any, int]]) -> dict[str, dict[Any, int]]:
    return {name: added([one.get(name, {}), other.get(name, {})]) for name in one | other}


def _added_lists(one: dict[str, list[int]], other: dict[str, list[int]]) -> dict[str, list[int]]:
    nothing = [0] * (len(BUCKETS_S) + 1)
    return {
        name: [a + b for a, b in zip(one.get(name, nothing), other.get(name, nothing), strict=True)]
        for name in one | other
    }
