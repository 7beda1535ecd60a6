"""Fixtures of the worker's tests: a handmade journal, a flusher in its thread, and Postgres read as plain rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from msgspec import structs

from engine.bootstrap import open_partition
from persistence.database_url import psycopg_url
from tests.waiting import wait_until
from tests.worker.handmade_journal import HandmadeJournal
from tests.worker.job_processes import RunningJobs
from worker.flusher import Flusher, FlusherSettings
from worker.jobs.context import JobSettings

QUICK = FlusherSettings(
    tick_ms=1,
    block_ms=20,
    stand_by_ms=30,
    report_every_ms=30,
    halted_retry_ms=60,
    trim_every_ms=10_000,
    last_back_off_ms=100,
)


class Rows:
    """Asks Postgres, each time anew, so that it also works while servers come and go."""

    def __init__(self, database_url: str) -> None:
        self.url = psycopg_url(database_url)

    def __call__(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(query, arguments)
            return found.fetchall() if found.description else []

    def seq(self) -> int:
        return int(self("SELECT seq FROM journal_cursors")[0][0])

    def ledger(self) -> list[tuple[int, int, str, int, int]]:
        return self("SELECT seq, line, sku, quantity, new_stock FROM inventory_transactions ORDER BY id")


class RunningFlusher:
    """A flusher in a thread; an exception in it fails the test when it is stopped."""

    def __init__(self, flusher: Flusher) -> None:
        self.flusher = flusher
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.flusher.run()
        except BaseException as error:  # noqa: BLE001 - raised again in stop()
            self.error = error

    @property
    def status(self) -> Any:
        return self.flusher.status

    def stop(self) -> None:
        self.flusher.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


@pytest.fixture
def rows(database_url: str) -> Rows:
    return Rows(database_url)


@pytest.fixture
def journal(redis_client: redis.Redis) -> HandmadeJournal:
    return HandmadeJournal(redis_client)


@pytest.fixture
def start_flusher(redis_url: str, database_url: str) -> Iterator[Callable[..., RunningFlusher]]:
    """`start_flusher(settings=QUICK, **more)`: running until the test ends."""
    started: list[RunningFlusher] = []

    def start(settings: FlusherSettings = QUICK, **more: Any) -> RunningFlusher:
        urls = {"redis_url": redis_url, "database_url": database_url, **more}
        running = RunningFlusher(Flusher(urls.pop("redis_url"), urls.pop("database_url"), settings, **urls))
        started.append(running)
        return running

    yield start
    for running in started:
        if running.thread.is_alive():
            running.stop()


@pytest.fixture
def flushed(rows: Rows, journal: HandmadeJournal) -> Callable[[], None]:
    """Wait until the ledger has all that was written, then hold ledger and levels against the journal's own sums."""

    def check() -> None:
        wait_until(lambda: rows.seq() == journal.seq, what=f"cursor at {journal.seq}")
        assert rows.ledger() == journal.ledger
        levels = {
            sku: (on_hand, reserved)
            for sku, on_hand, reserved in rows("SELECT sku, on_hand, reserved FROM inventory_levels")
        }
        assert levels == {sku: (n, journal.reserved[sku]) for sku, n in journal.on_hand.items()}
        assert dict(rows("SELECT id, status FROM stock_reservations")) == journal.status

    return check


@pytest.fixture
def start_jobs(
    job_settings: JobSettings, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[Callable[..., RunningJobs]]:
    """`start_jobs(**changes of JobSettings)`: a job process with the jobs of job_process_main.py, ready."""
    open_partition(redis_client, epoch=1, ledger_seq=0)
    started: list[RunningJobs] = []

    def start(*, wait: bool = True, **changes: Any) -> RunningJobs:
        running = RunningJobs(structs.replace(job_settings, **{"grace_s": 0.5, **changes}), tmp_path)
        started.append(running)
        return running.wait_until_ready() if wait else running

    yield start
    for running in started:
        running.stop()
