"""The worker's numbers as Prometheus reads them, on a small HTTP server of its own.

Owns names and units; never counts anything itself: it reads what flusher and sweeper say of themselves when asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.flusher import FlusherStatus
from worker.follower import FollowerStatus
from worker.keeper import KeeperStatus
from worker.order_stream import OrderStreamStatus
from worker.sweeper import SweeperStatus

_MS: Final = 1000.0
_LEAVE_EVERY_S: Final = 1.0
_log = structlog.get_logger("worker.metrics")
_PREFIX: Final = "holdfast_"


class WorkerCollector(Collector):
    """Turns the status sheets into metrics each time Prometheus asks."""

    def __init__(
        self,
        flusher: Callable[[], FlusherStatus],
        sweeper: Callable[[], SweeperStatus | None],
        orders: Callable[[], OrderStreamStatus | None] = lambda: None,
        keeper: Callable[[], KeeperStatus | None] = lambda: None,
        followers: Callable[[], Mapping[str, FollowerStatus]] = dict,
    ) -> None:
        self._flusher = flusher
        self._sweeper = sweeper
        self._orders = orders
        self._keeper = keeper
        self._followers = followers

    def collect(self) -> Iterator[Metric]:
        """Every metric of the worker."""
        yield from _flusher_metrics(self._flusher())
        sweeper = self._sweeper()
        if sweeper is not None:
            yield from _sweeper_metrics(sweeper)
        orders = self._orders()
        if orders is not None:
            yield from _orders_metrics(orders)
        keeper = self._keeper()
        if keeper is not None:
            yield _gauge("epoch", "Epoch of the partition that is served.", keeper.epoch)
            yield _gauge("recovery_needed", "1 while what Redis holds may not be served.", bool(keeper.reason))
            yield _counter("keeper_looks", "Looks at whether Redis and the ledger agree.", keeper.looks)
            yield _counter("rebuilds", "Times that Redis was rebuilt from the ledger, by anybody.", keeper.rebuilds)
            yield _gauge("rebuild_duration_seconds", "How long the latest rebuild took.", keeper.rebuild_ms / _MS)
        yield from _follower_metrics(self._followers())


async def leave_metrics(collector: WorkerCollector, path: Path) -> None:
    """Write the page to a file each second, until cancelled. A reader never sees half of it."""
    registry = CollectorRegistry()
    registry.register(collector)
    unfinished = path.with_name(f".{path.name}")
    while True:
        try:
            unfinished.write_bytes(generate_latest(registry))
            unfinished.replace(path)
        except OSError as error:
            _log.error("metrics cannot be left for the API", reason=f"{type(error).__name__}: {error}")
        await asyncio.sleep(_LEAVE_EVERY_S)


class MetricsServer:
    """The page at http://`host`:`port`/metrics; port 0 takes a free one."""

    def __init__(self, collector: WorkerCollector, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        server, thread = start_http_server(port, addr=host, registry=registry)
        self._server, self._thread = server, thread

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _flusher_metrics(status: FlusherStatus) -> Iterator[Metric]:
    yield _gauge("journal_lag_events", "Journal events that are not in the ledger yet.", status.lag_events)
    yield _gauge("journal_lag_seconds", "Age of the oldest event that is not in the ledger yet.", status.lag_ms / _MS)
    yield _gauge(
        "journal_entries", "Entries in the journal, flushed ones that are kept included.", status.journal_entries
    )
    yield _gauge("journal_bytes", "Memory of the journal in Redis.", status.journal_bytes)
    yield _gauge("flusher_up", "1 while the partition is followed, 0 while it is halted.", status.state == "running")
    yield _gauge("flusher_waiting", "1 while Redis or Postgres gives no answer.", status.reason.startswith("waits"))
    yield _gauge("ledger_seq", "Sequence number that the ledger has reached.", status.seq)
    yield _gauge("flush_duration_seconds", "How long the latest flush took.", status.last_flush_ms / _MS)
    yield _counter("flushes", "Transactions committed.", status.flushes)
    yield _counter("flushed_events", "Journal events brought into Postgres.", status.events)
    yield _counter("ledger_rows", "Ledger rows written.", status.ledger_rows)
    yield _counter("quarantined_events", "Journal events set aside.", status.quarantined)
    yield _counter("flusher_failures", "Times that Redis or Postgres went away.", status.failures)
    yield _counter("journal_trimmed_entries", "Journal entries trimmed.", status.trimmed_entries)


def _sweeper_metrics(status: SweeperStatus) -> Iterator[Metric]:
    yield _counter("sweeper_expired", "Holds ended because their deadline had passed.", status.expired)
    yield _counter("sweeper_looks", "Looks for due holds.", status.looks)
    yield _gauge("sweep_lag_seconds", "How long the oldest due hold had been due.", status.lag_ms / _MS)
    yield _gauge("sweeper_stuck_holds", "Due holds that cannot be ended; more than 0 means damage.", status.stuck)
    yield _gauge("sweeper_paused", "1 while the server's clock is not believed.", status.paused)


def _orders_metrics(status: OrderStreamStatus) -> Iterator[Metric]:
    yield _counter("orders_applied", "Order events of the stream applied and acknowledged.", status.applied)
    yield _counter("orders_dead_letters", "Order events of the stream set aside.", status.dead)
    yield _counter("orders_repeats", "Attempts at order events that had to be made again.", status.repeated)
    yield _gauge("orders_lag_entries", "Entries of the orders stream not acknowledged yet.", status.lag_entries)
    yield _gauge("orders_postponed", "Cancellations that wait for their order to become known.", status.postponed)
    yield _gauge("orders_waiting", "1 while the stream's Redis gives no answer.", status.waiting)


def _follower_metrics(followers: Mapping[str, FollowerStatus]) -> Iterator[Metric]:
    if not followers:
        return
    stuck = GaugeMetricFamily(
        _PREFIX + "follower_stuck", "1 while what follows the journal cannot go on.", labels=["follower"]
    )
    entries = CounterMetricFamily(
        _PREFIX + "follower_entries", "Journal entries that this worker has handed to it.", labels=["follower"]
    )
    for name, status in followers.items():
        stuck.add_metric([name], float(bool(status.reason)))
        entries.add_metric([name], float(status.entries))
    yield stuck
    yield entries


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"holdfast_{name}", text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"holdfast_{name}", text, value=float(value))
