"""Counters of the API: plain integers on the hot path, Prometheus text on request.

Owns what /metrics shows. Never blocks and never allocates on the hot path. The API processes of one service leave
their counters in a shared directory, so that whichever of them is scraped answers for all.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from api.lost_demand import LostDemandCounts
from inventory.pulse.sheets import LATENCY_BOUNDS_S, Counts, added

if TYPE_CHECKING:
    from engine.tallies import BatchTally

BUCKETS_S: Final = LATENCY_BOUNDS_S
"""Upper bounds of the latency histogram, seconds."""


class Snapshot(Struct, frozen=True):
    """The counters of one process at one moment."""

    requests: dict[str, dict[int, int]]
    """endpoint -> status -> answers."""
    durations: dict[str, list[int]]
    """endpoint -> answers per bucket of BUCKETS_S, and one more for what took longer."""
    seconds: dict[str, float]
    """endpoint -> time spent, summed."""


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
    """All counters of this process, and how they are shown together with those of its siblings."""

    def __init__(self, directory: Path | None = None) -> None:
        self._endpoints: dict[str, EndpointCounts] = {}
        self._hot: set[str] = set()
        self.lost = LostDemandCounts()
        self._directory = directory
        self._own = f"api-{os.getpid()}-{os.urandom(4).hex()}.json"

    def endpoint(self, name: str, *, hot: bool = False) -> EndpointCounts:
        """The counts of an endpoint, made on first mention; `hot`: its latency is the hot path's."""
        if hot:
            self._hot.add(name)
        if name not in self._endpoints:
            self._endpoints[name] = EndpointCounts(self.lost)
        return self._endpoints[name]

    def counts(self, tally: BatchTally) -> Counts:
        """What the pulse tells of this process, with what its engine has counted."""
        endpoints = self._endpoints.values()
        outcomes: dict[str, dict[str, int]] = {}
        for one in tally.outcomes():
            outcomes.setdefault(one.command, {})[one.status] = one.count
        latency = [0] * (len(BUCKETS_S) + 1)
        for name in self._hot:
            latency = [a + b for a, b in zip(latency, self._endpoints[name].buckets, strict=True)]
        return Counts(
            requests=sum(sum(one.statuses.values()) for one in endpoints),
            errors=sum(n for one in endpoints for status, n in one.statuses.items() if status >= 500),
            problems=added([one.problems for one in endpoints]),
            outcomes=outcomes,
            latency=tuple(latency),
            batches=sum(tally.sizes),
            commands=tally.commands,
            batch_seconds=tally.seconds,
        )

    def snapshot(self) -> Snapshot:
        """The counters of this process now."""
        return Snapshot(
            {name: dict(counts.statuses) for name, counts in self._endpoints.items()},
            {name: list(counts.buckets) for name, counts in self._endpoints.items()},
            {name: counts.seconds for name, counts in self._endpoints.items()},
        )

    def publish(self) -> None:
        """Leave this process's counters where its siblings find them. A reader never sees half a file."""
        if self._directory is None:
            return
        unfinished = self._directory / f".{self._own}"
        unfinished.write_bytes(msgspec.json.encode(self.snapshot()))
        unfinished.replace(self._directory / self._own)

    def _all(self) -> Iterable[Snapshot]:
        yield self.snapshot()
        if self._directory is None:
            return
        decode = msgspec.json.Decoder(Snapshot).decode
        for path in sorted(self._directory.glob("api-*.json")):
            if path.name != self._own:
                yield decode(path.read_bytes())

    def render(self, gauges: dict[str, tuple[str, float]], more: Iterable[Metric] = ()) -> bytes:
        """Prometheus text: counters of all API processes, this process's gauges (name -> help, value), and `more`."""
        requests = CounterMetricFamily("holdfast_http_requests", "Answers given", labels=["endpoint", "status"])
        durations = HistogramMetricFamily(
            "holdfast_http_request_duration_seconds", "Time from request to answer", labels=["endpoint"]
        )
        statuses: defaultdict[tuple[str, int], int] = defaultdict(int)
        buckets: dict[str, list[int]] = {}
        seconds: defaultdict[str, float] = defaultdict(float)
        for snapshot in self._all():
            for name, counted in snapshot.requests.items():
                for status, number in counted.items():
                    statuses[name, status] += number
            for name, numbers in snapshot.durations.items():
                have = buckets.setdefault(name, [0] * len(numbers))
                buckets[name] = [a + b for a, b in zip(have, numbers, strict=True)]
                seconds[name] += snapshot.seconds[name]
        for (name, status), number in sorted(statuses.items()):
            requests.add_metric([name, str(status)], number)
        for name, numbers in sorted(buckets.items()):
            durations.add_metric([name], _cumulative(numbers), seconds[name])
        families: list[Metric] = [requests, durations, *more]
        for gauge, (help_text, value) in gauges.items():
            families.append(GaugeMetricFamily(gauge, help_text, value=value))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(families))
        return generate_latest(registry)


def _cumulative(numbers: list[int]) -> list[tuple[str, float]]:
    total = 0
    pairs: list[tuple[str, float]] = []
    for bound, number in zip((*map(str, BUCKETS_S), "+Inf"), numbers, strict=True):
        total += number
        pairs.append((bound, total))
    return pairs


class _Families:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
