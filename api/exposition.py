"""What Prometheus reads at /metrics: every family's name, unit and help, made of what others count and look up.

Owns the names. Never counts, and never asks a server: what could not be asked is left out, so that an alarm can tell a
value that is missing from one that is good.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from api.metrics import BUCKETS_S, STALE_S, Snapshot, together
from engine.tallies import SECONDS_BOUNDS, SIZE_BOUNDS
from inventory.readiness import OK, PARTS

if TYPE_CHECKING:
    from engine.vitals import Vitals
    from inventory.pulse.fleet import Fleet
    from inventory.readiness import Readiness
    from persistence.queries.figures import Figures
    from persistence.queries.partition_state import PartitionState
    from persistence.queries.reconciliation import LastReconciliation

PREFIX: Final = "holdfast_"
WORKER_PAGE: Final = "*.prom"
"""Files of the shared folder in which other processes leave whole families, as text."""

_STATE_HELP: Final = {
    "engine_queue_depth": "Commands waiting for a batch.",
    "engine_batches_in_flight": "Batches sent and not yet answered.",
    "engine_connected": "1 while Redis can be reached for commands.",
    "engine_refusing": "1 while nothing is served although Redis is connected.",
    "journal_full": "1 while new holds are refused because the ledger is too far behind.",
    "http_connections": "Open connections.",
    "event_streams": "Open event streams.",
    "postgres_pool_in_use": "Postgres connections handed out.",
    "postgres_pool_limit": "Postgres connections that may be handed out.",
    "process_resident_memory_bytes": "Memory of the process.",
    "process_start_time_seconds": "When the process began, Unix time.",
}


def render(families: Iterable[Metric]) -> bytes:
    """Prometheus text. Of two families with one name the first counts."""
    chosen: dict[str, Metric] = {}
    for family in families:
        chosen.setdefault(family.name, family)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(list(chosen.values())))
    return generate_latest(registry)


def counted(snapshots: Sequence[Snapshot]) -> Iterator[Metric]:
    """What all API processes have counted, and the state of each."""
    total = together(list(snapshots))
    requests = _counter("http_requests", "Answers given.", ["endpoint", "status"])
    for name, statuses in sorted(total.requests.items()):
        for status, number in sorted(statuses.items()):
            requests.add_metric([name, str(status)], number)
    yield requests
    durations = HistogramMetricFamily(
        PREFIX + "http_request_duration_seconds", "Time from request to answer.", labels=["endpoint"]
    )
    for name, numbers in sorted(total.durations.items()):
        durations.add_metric([name], _cumulative(numbers, BUCKETS_S), total.seconds[name])
    yield durations
    yield _counter_of(
        "http_problems", "Refusals by the code of their problem, items of a batch included.", ["endpoint", "code"],
        {(name, code): n for name, codes in total.problems.items() for code, n in codes.items()},
    )  # fmt: skip
    yield _counter_of(
        "engine_commands", "Commands of API processes by what came of them.", ["command", "status"],
        {(name, status): n for name, statuses in total.outcomes.items() for status, n in statuses.items()},
    )  # fmt: skip
    yield _histogram(
        "engine_batch_commands", "Commands in a batch.", total.batch_sizes, SIZE_BOUNDS, total.batch_commands
    )
    yield _histogram(
        "engine_batch_duration_seconds", "From the sending of a batch to its answer.",
        total.batch_durations, SECONDS_BOUNDS, total.batch_seconds,
    )  # fmt: skip
    yield _counter_of("lost_demand_lines", "Lines of refused reserves that were short of stock.", [], total.lost_lines)
    yield _counter_of("lost_demand_units", "Units asked for in those lines.", [], total.lost_units)
    for name, text in _STATE_HELP.items():
        family = _gauge(name, text, ["process"])
        for snapshot in snapshots:
            if name in snapshot.state:
                family.add_metric([snapshot.process], snapshot.state[name])
        yield family


def watched(fleet: Fleet) -> Iterator[Metric]:
    """What a look at Redis, at readiness and at the pulse has found."""
    vitals = fleet.vitals
    yield _gauge_of("redis_up", "1 while Redis answers.", vitals is not None)
    if vitals is not None:
        yield from _redis(vitals)
        yield _gauge_of("holds_expiring_soon", "Holds that end within a minute.", vitals.expiring_soon)
    if fleet.journal_lag_events is not None:
        yield _gauge_of(
            "journal_lag_events", "Journal events that are not in the ledger yet.", fleet.journal_lag_events
        )
    if fleet.journal_lag_s is not None:
        yield _gauge_of(
            "journal_lag_seconds", "Age of the oldest event that is not in the ledger yet.", fleet.journal_lag_s
        )
    yield _gauge_of(
        "worker_processes", "Worker processes that have told how they are.",
        sum(pulse.role == "worker" for pulse in fleet.processes),
    )  # fmt: skip
    yield _gauge_of(
        "api_processes", "API processes that have told how they are, of all machines.",
        sum(pulse.role == "api" for pulse in fleet.processes),
    )  # fmt: skip
    yield from _readiness(fleet.readiness)


def _redis(vitals: Vitals) -> Iterator[Metric]:
    yield _gauge_of("redis_memory_used_bytes", "Memory that Redis uses.", vitals.memory_used_bytes)
    yield _gauge_of("redis_memory_limit_bytes", "Its limit (maxmemory); 0: none.", vitals.memory_limit_bytes)
    yield _gauge_of("redis_connected_clients", "Connections to Redis, of anybody.", vitals.clients)
    yield _gauge_of("redis_aof_write_ok", "0 after a write of the append-only file failed.", vitals.aof_write_ok)
    yield _counter_of("redis_scripts", "Scripts that Redis has run.", [], vitals.script_calls)
    yield _counter_of("redis_script_seconds", "Time that Redis has spent in scripts.", [], vitals.script_seconds)
    yield _gauge_of("holds_live", "Reservations that hold stock.", vitals.live_holds)
    yield _gauge_of(
        "oldest_due_hold_seconds", "How long the hold that should have ended first has been due.",
        vitals.oldest_due_ms / 1000,
    )  # fmt: skip
    yield _gauge_of("journal_entries", "Entries in the journal, flushed ones included.", vitals.journal_entries)
    yield _gauge_of("journal_seq", "Sequence number of the last event.", vitals.seq)
    yield _gauge_of("epoch", "Epoch of the state in Redis; 0: there is none.", vitals.epoch)


def _readiness(readiness: Readiness) -> Iterator[Metric]:
    yield _gauge_of("ready", "1 while the process that was asked can serve requests.", readiness.ready)
    parts = _gauge(
        "part_ok", "1 while this part of the service is in order; /readyz says what is the matter.", ["part"]
    )
    for part in PARTS:
        parts.add_metric([part], float(getattr(readiness, part) == OK))
    yield parts


def postgres_up(up: bool) -> Metric:
    """Whether Postgres has answered this scrape."""
    return _gauge_of("postgres_up", "1 while Postgres answers.", up)


def recorded(figures: Figures, state: PartitionState | None, drift: LastReconciliation | None) -> Iterator[Metric]:
    """What Postgres knows."""
    deliveries = _gauge("webhook_deliveries", "Deliveries to webhooks in this state.", ["status"])
    deliveries.add_metric(["pending"], figures.webhook_pending)
    deliveries.add_metric(["failed"], figures.webhook_failed)
    yield deliveries
    yield _gauge_of("webhook_oldest_due_seconds", "How long the oldest delivery has been due.", figures.webhook_late_s)
    yield _gauge_of("webhooks_disabled", "Webhooks that are switched off.", figures.webhooks_disabled)
    yield _gauge_of("journal_quarantined_events", "Journal events that were set aside.", figures.quarantined)
    yield _gauge_of("approvals_pending", "Stock changes that wait for a second person.", figures.approvals_pending)
    yield _gauge_of("stock_alerts_open", "Low-stock alerts that nobody has resolved.", figures.alerts_open)
    if state is not None:
        yield _gauge_of("recovery_needed", "1 while what Redis holds may not be served.", state.state != "OPEN")
        yield _counter_of("rebuilds", "Times that Redis was rebuilt from the ledger.", [], state.rebuilds)
        yield _gauge_of("rebuild_duration_seconds", "How long the latest rebuild took.", state.rebuild_ms / 1000)
    if drift is not None:
        yield _gauge_of(
            "reconciliation_differences", "Differences the latest scheduled reconciliation found.", drift.found
        )
        yield _gauge_of("reconciliation_age_seconds", "Time since that reconciliation.", drift.age_s)
        yield _gauge_of("reconciliation_duration_seconds", "How long it took.", drift.took_ms / 1000)


def left_by_workers(folder: Path | None) -> Iterator[Metric]:
    """Families that the worker has left in the shared folder; once they are old, only what it has counted."""
    if folder is None:
        return
    for path in sorted(folder.glob(WORKER_PAGE)):
        if path.name.startswith("."):
            continue
        text = path.read_text()
        fresh = time.time() - path.stat().st_mtime < STALE_S
        for family in text_string_to_metric_families(text):
            if fresh or family.type == "counter":
                yield family


class _Families:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=list(labels))


def _gauge_of(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=float(value))


def _counter(name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=list(labels))


def _counter_of(name: str, text: str, labels: Sequence[str], values: float | Mapping[tuple[str, ...], float]) -> Metric:
    if not isinstance(values, Mapping):
        return CounterMetricFamily(PREFIX + name, text, value=float(values))
    family = _counter(name, text, labels)
    for given, value in sorted(values.items()):
        family.add_metric(list(given), value)
    return family


def _histogram(name: str, text: str, numbers: Sequence[int], bounds: Sequence[float], total: float) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text)
    family.add_metric([], _cumulative(numbers, bounds), total)
    return family


def _cumulative(numbers: Sequence[int], bounds: Sequence[float]) -> list[tuple[str, float]]:
    total = 0
    pairs: list[tuple[str, float]] = []
    for bound, number in zip((*map(str, bounds), "+Inf"), numbers, strict=True):
        total += number
        pairs.append((bound, total))
    return pairs
