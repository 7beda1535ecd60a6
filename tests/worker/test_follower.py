"""A follower: every entry once in effect and in sequence, whatever its consumer, its neighbours or Postgres do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from persistence.database import Database, Transaction
from persistence.journal_entries import JournalEntry
from persistence.queries import followers
from persistence.watermark import Watermark
from tests.waiting import eventually
from tests.worker.conftest import Rows, RunningFlusher
from tests.worker.handmade_journal import HandmadeJournal
from worker.follower import Follower, FollowerSettings

QUICK = FollowerSettings(entries=3, look_again_s=0.1, first_back_off_s=0.01, last_back_off_s=0.05)

Start = Callable[..., RunningFlusher]


class Keeper:
    """A consumer that writes down what it was given, twice if it is given twice."""

    name = "keeper"

    def __init__(self) -> None:
        self.fails = 0
        """How many calls are still to fail, after they have written."""
        self.told: list[int] = []
        """Sequence numbers told of as committed."""
        self._taken: list[int] = []

    async def take(self, transaction: Transaction, entries: Sequence[JournalEntry]) -> None:
        self._taken = [entry.first_seq + place for entry in entries for place in range(len(entry.events))]
        for seq in self._taken:
            await transaction.execute(text("INSERT INTO kept (seq) VALUES (:seq)"), {"seq": seq})
        if self.fails:
            self.fails -= 1
            raise ZeroDivisionError("a mistake of the consumer")

    async def committed(self) -> None:
        self.told += self._taken


@pytest.fixture
def kept(rows: Rows) -> Callable[[], list[int]]:
    rows("CREATE TABLE kept (id bigint GENERATED ALWAYS AS IDENTITY, seq bigint NOT NULL)")
    return lambda: [seq for (seq,) in rows("SELECT seq FROM kept ORDER BY id")]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def watermark(database_url: str) -> AsyncIterator[Watermark]:
    opened = Watermark(database_url)
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def follow(database: Database, watermark: Watermark) -> Callable[[Keeper], Follower]:
    return lambda consumer: Follower(database, watermark, consumer, QUICK)


def write(journal: HandmadeJournal, entries: int, events: int = 1) -> None:
    for _ in range(entries):
        for _ in range(events):
            journal.adjust({"A": 1})
        journal.flush()


async def flushed(journal: HandmadeJournal, rows: Rows) -> None:
    await eventually(lambda: rows.seq() == journal.seq)


async def test_it_begins_at_the_oldest_and_goes_on_in_sequence(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, kept: Any, follow: Any
) -> None:
    start_flusher()
    write(journal, 4, events=2)
    await flushed(journal, rows)
    keeper = Keeper()
    follower = follow(keeper)
    assert [await follower.step() for _ in range(3)] == [3, 1, 0]
    write(journal, 1)
    await flushed(journal, rows)
    # Another process goes on where this one was.
    assert await follow(Keeper()).step() == 1
    assert await follower.step() == 0
    assert kept() == list(range(1, 10))
    assert keeper.told == list(range(1, 9))


async def test_what_a_failing_consumer_did_is_taken_back_and_tried_again(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, kept: Any, follow: Any
) -> None:
    start_flusher()
    write(journal, 5)
    keeper = Keeper()
    keeper.fails = 3
    follower = follow(keeper)
    stop = asyncio.Event()
    running = asyncio.create_task(follower.run(stop))
    await eventually(lambda: kept() == [1, 2, 3, 4, 5])
    await eventually(lambda: keeper.told == [1, 2, 3, 4, 5] and not follower.status.reason)
    assert follower.status.failures == 3
    assert follower.status.seq == 5
    stop.set()
    await running


async def test_several_workers_take_each_entry_once(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, kept: Any, follow: Any
) -> None:
    start_flusher()
    stop = asyncio.Event()
    running = [asyncio.create_task(follow(Keeper()).run(stop)) for _ in range(3)]
    write(journal, 60)
    await eventually(lambda: len(kept()) >= 60)
    stop.set()
    await asyncio.gather(*running)
    assert kept() == list(range(1, 61))


async def test_ended_between_the_work_and_its_commit(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, kept: Any, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_flusher()
    write(journal, 3)
    await flushed(journal, rows)
    moved = followers.move

    async def ended(*arguments: Any) -> bool:
        assert await moved(*arguments)
        raise asyncio.CancelledError

    monkeypatch.setattr(followers, "move", ended)
    keeper = Keeper()
    with pytest.raises(asyncio.CancelledError):
        await follow(keeper).step()
    assert (kept(), keeper.told) == ([], [])
    monkeypatch.setattr(followers, "move", moved)
    assert await follow(keeper).step() == 3
    assert kept() == [1, 2, 3]


async def test_while_another_is_at_it_there_is_nothing_to_do(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, kept: Any, follow: Any, database: Database
) -> None:
    start_flusher()
    write(journal, 1)
    await flushed(journal, rows)
    follower = follow(Keeper())
    assert await follower.step() == 1
    write(journal, 1)
    await flushed(journal, rows)
    async with database.transaction() as elsewhere:
        assert await followers.hold(elsewhere, "keeper") is not None
        assert await follower.step() == 0
    assert await follower.step() == 1
    assert kept() == [1, 2]


async def test_what_the_ledger_set_aside_comes_as_that(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, kept: Any, follow: Any
) -> None:
    from persistence.journal_entries import BadEvent

    seen: list[type] = []

    class Looker(Keeper):
        async def take(self, transaction: Transaction, entries: Sequence[JournalEntry]) -> None:
            seen.extend(type(event) for entry in entries for event in entry.events)

    journal.adjust({"A": 1})
    journal.pending.append(["adjust", journal.new_id(), "no'sku=1=1=0", "IN", "", "", "", ""])
    journal.flush()
    start_flusher()
    await flushed(journal, rows)
    assert await follow(Looker()).step() == 1
    assert [kind is BadEvent for kind in seen] == [False, True]
