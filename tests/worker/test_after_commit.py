"""What the flusher does with its commit or behind it, never before: move the cursor, tell who waits, trim."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest
import redis

from engine.journal import JournalReader
from persistence.database_url import psycopg_url
from persistence.flush_plan import FlushPlan
from persistence.journal_entries import read_entry
from persistence.ledger_writer import CursorMoved, LedgerWriter
from tests.worker.conftest import Rows, RunningFlusher
from tests.worker.handmade_journal import KEYS, HandmadeJournal
from worker.flusher import FlusherSettings

Start = Callable[..., RunningFlusher]


@pytest.mark.parametrize("step", ["after_copy", "after_merge", "before_commit"])
def test_nobody_is_told_before_the_commit(
    step: str, journal: HandmadeJournal, start_flusher: Start, database_url: str, flushed: Callable[[], None]
) -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold(here: str) -> None:
        if here == step and not held.is_set():
            held.set()
            assert go_on.wait(30)

    with psycopg.connect(psycopg_url(database_url), autocommit=True) as listening:
        listening.execute("LISTEN holdfast_ledger")
        start_flusher(passed=hold)
        journal.adjust({"A": 1})
        journal.flush()
        assert held.wait(60)
        # Postgres delivers what is committed at once: what was told is there by the time that another commit is.
        listening.execute("NOTIFY holdfast_ledger, 'marker'")
        heard = next(listening.notifies(timeout=60)).payload
        go_on.set()
        assert heard == "marker"
        assert next(listening.notifies(timeout=60)).payload.startswith("0:1:1:")
    flushed()


def test_what_came_during_a_flush_is_not_trimmed_with_it(
    journal: HandmadeJournal, start_flusher: Start, redis_client: redis.Redis, flushed: Callable[[], None]
) -> None:
    came = threading.Event()

    def more(here: str) -> None:
        if here == "after_commit" and not came.is_set():
            for _ in range(3):
                journal.adjust({"A": 1})
                journal.flush()
            came.set()

    for _ in range(3):
        journal.adjust({"A": 1})
    journal.flush()
    start_flusher(FlusherSettings(tick_ms=1, block_ms=20, trim_every_ms=1, keep_ms=0, halted_retry_ms=60), passed=more)
    assert came.wait(60)
    flushed()
    assert redis_client.xlen(KEYS.journal) >= 1


def test_a_flush_that_begins_where_another_ended_is_refused(
    journal: HandmadeJournal, redis_client: redis.Redis, database_url: str, rows: Rows
) -> None:
    """Even when nothing else would notice: a changed setting is in no append-only table."""
    writers = [LedgerWriter(database_url, 0) for _ in range(2)]
    journal.adjust({"A": 1})
    journal.flush()
    journal.configure("A", safety_stock=1)
    journal.flush()
    (first, second) = [read_entry(*found) for found in JournalReader(redis_client, 0).read("0-0", 10, 0)]
    slow_cursor, slow_book = writers[1].load()

    for entry in (first, second):
        plan = FlushPlan(0, *writers[0].load())
        plan.add(entry)
        writers[0].write(plan)

    late = FlushPlan(0, slow_cursor, slow_book)
    late.add(first)
    late.archive.clear()
    late.ledger.clear()
    with pytest.raises(CursorMoved):
        writers[1].write(late)
    assert rows.seq() == journal.seq
    for writer in writers:
        writer.close()
