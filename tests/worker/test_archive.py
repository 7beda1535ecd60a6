"""The archive: every entry that the ledger has, as it was in the journal, once; and forgetting what is old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from persistence.database import Database
from persistence.queries import followers, journal_archive
from persistence.queries.journal_archive import Position
from tests.waiting import wait_until
from tests.worker.conftest import Rows, RunningFlusher
from tests.worker.handmade_journal import KEYS, HandmadeJournal

Start = Callable[..., RunningFlusher]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


def archived(rows: Rows) -> list[tuple[int, int, str, bytes]]:
    found = rows("SELECT first_seq, last_seq, stream_id, body FROM journal_archive ORDER BY epoch, last_seq")
    return [(first, last, stream_id, bytes(body)) for first, last, stream_id, body in found]


def in_stream(journal: HandmadeJournal) -> list[tuple[str, bytes]]:
    return [(stream_id.decode(), fields[b"b"]) for stream_id, fields in journal.client.xrange(KEYS.journal)]


def write(journal: HandmadeJournal, entries: int, events: int = 1) -> None:
    for _ in range(entries):
        for _ in range(events):
            journal.adjust({"A": 1})
        journal.flush()


def test_each_entry_as_it_was_by_two_flushers(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    start_flusher()
    start_flusher()
    write(journal, 20)
    write(journal, 5, events=40)
    flushed()
    found = archived(rows)
    assert [(stream_id, body) for _, _, stream_id, body in found] == in_stream(journal)
    assert [first for first, *_ in found] == [1, *(last + 1 for _, last, *_ in found[:-1])]
    assert found[-1][1] == journal.seq


def test_an_entry_that_postgres_refuses_in_part_is_archived_once_it_is_passed(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows
) -> None:
    rows("ALTER TABLE inventory_transactions ADD CONSTRAINT poison CHECK (reason <> 'poison')")
    journal.adjust({"A": 1})
    journal.adjust({"B": 1}, reason="poison")
    journal.adjust({"C": 1})
    journal.flush()
    write(journal, 1)
    start_flusher()
    wait_until(lambda: rows.seq() == 4)
    assert [row[:2] for row in archived(rows)] == [(1, 3), (4, 4)]
    assert rows("SELECT seq FROM journal_quarantine WHERE applied = 'nothing'") == [(2,)]


async def at_position(database: Database, rows: Rows, days_old: int, entries: int) -> None:
    moment = datetime.now(UTC) - timedelta(days=days_old)
    (last,) = rows("SELECT coalesce(max(last_seq), 0) FROM journal_archive")[0]
    for seq in range(last + 1, last + 1 + entries):
        rows("INSERT INTO journal_archive VALUES (0, 1, %s, %s, %s, '1-1', '')", seq, seq, moment)
    rows("UPDATE journal_cursors SET seq = %s", last + entries)


async def test_only_what_is_old_and_followed_goes_in_chunks(database: Database, rows: Rows) -> None:
    await at_position(database, rows, days_old=40, entries=2)
    await at_position(database, rows, days_old=10, entries=5)
    await at_position(database, rows, days_old=1, entries=3)
    await followers.begin(database, "alerts", Position(1, 100))
    await followers.begin(database, "slow", Position(1, 4))
    now = datetime.now(UTC)
    week, month = now - timedelta(days=7), now - timedelta(days=30)

    async def forget(most: int) -> int:
        return await journal_archive.forget(database, week, month, most)

    assert [await forget(3), await forget(3), await forget(3)] == [3, 1, 0], "what `slow` has not taken stays"
    assert [seq for seq, *_ in archived(rows)] == [5, 6, 7, 8, 9, 10]
    rows("UPDATE follower_cursors SET seq = 10 WHERE follower = 'slow'")
    assert [await forget(2), await forget(2), await forget(2)] == [2, 1, 0], "what is young stays"
    extent = await journal_archive.extent(database)
    assert (extent.oldest, extent.newest) == (Position(1, 7), Position(1, 10))
    # A follower that is gone for good does not keep them for ever.
    rows("UPDATE follower_cursors SET seq = 0 WHERE follower = 'slow'")
    rows("UPDATE journal_archive SET at = at - interval '60 days'")
    assert await forget(100) == 3
    extent = await journal_archive.extent(database)
    assert (extent.oldest, extent.newest) == (Position(1, 10), Position(1, 10))
