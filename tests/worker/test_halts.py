"""What the flusher refuses to skip: gaps, breaks of continuity, another epoch, a Redis that forgot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from engine.events import Adjusted
from tests.waiting import wait_until
from tests.worker.conftest import Rows, RunningFlusher
from tests.worker.handmade_journal import KEYS, HandmadeJournal

Start = Callable[..., RunningFlusher]


def halted(running: RunningFlusher, rows: Rows, reason: str) -> None:
    """It says so to whoever asks: its own status, Postgres, and that it stays so."""
    wait_until(lambda: running.status.state == "halted" and reason in running.status.reason, what=reason)
    wait_until(
        lambda: (
            (found := rows("SELECT state, reason FROM flusher_status"))
            and found[0][0] == "halted"
            and reason in found[0][1]
        )
    )


def receive(journal: HandmadeJournal, entries: int) -> list[str]:
    ids = []
    for _ in range(entries):
        journal.adjust({"A": 5})
        ids.append(journal.flush())
    return ids


def test_a_gap_halts_after_what_came_before_it(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    ids = receive(journal, 6)
    journal.client.xdel(KEYS.journal, ids[3])
    running = start_flusher()
    halted(running, rows, "gap in the journal: 4 is nowhere in it")
    assert rows.seq() == 3
    assert rows.ledger() == journal.ledger[:3]


def test_a_journal_trimmed_by_hand_halts(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    running = start_flusher()
    receive(journal, 3)
    wait_until(lambda: rows.seq() == 3)
    running.stop()
    receive(journal, 3)
    journal.client.xtrim(KEYS.journal, maxlen=0, approximate=False)
    running = start_flusher()
    halted(running, rows, "gap in the journal: 4 is nowhere in it")
    receive(journal, 1)
    halted(running, rows, "gap in the journal: 4 is nowhere in it")
    assert rows.seq() == 3


def test_a_halted_flusher_goes_on_once_the_gap_is_closed(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    receive(journal, 2)
    journal.adjust({"A": 5})
    missing = journal.packed()
    journal.append(b"", "*")
    journal.client.xtrim(KEYS.journal, maxlen=2, approximate=False)
    journal.client.delete(KEYS.journal)
    running = start_flusher()
    halted(running, rows, "gap")
    journal.client.delete(KEYS.journal)
    journal.on_hand["A"] = 0
    journal.ledger, journal.seq = [], 0
    receive(journal, 3)
    assert missing
    flushed()
    wait_until(lambda: running.status.state == "running")


def test_a_break_of_continuity_halts(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    receive(journal, 2)
    journal.on_hand["A"] += 1
    receive(journal, 1)
    running = start_flusher()
    halted(running, rows, "continuity of A broken at 3: its on_hand was 10 at 2, the journal says 11")
    assert rows.ledger() == journal.ledger[:2]
    assert rows("SELECT on_hand FROM inventory_levels") == [(10,)]


def test_a_hold_that_moves_stock_is_a_break_too(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    receive(journal, 1)
    journal.on_hand["A"] -= 1
    journal.reserve({"A": 1})
    journal.flush()
    halted(start_flusher(), rows, "continuity of A broken at 2")


def test_another_epoch_halts(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    receive(journal, 1)
    journal.epoch = 2
    receive(journal, 1)
    halted(start_flusher(), rows, "is of epoch 2, the ledger of 1")
    assert rows.seq() == 1


def test_entries_of_an_epoch_that_is_over_are_passed(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    journal.adjust({"OLD": 1})
    journal.flush()
    rows("UPDATE journal_cursors SET epoch = 2")
    fresh = HandmadeJournal(journal.client, epoch=2)
    receive(fresh, 2)
    start_flusher()
    wait_until(lambda: rows.seq() == 2)
    assert rows.ledger() == fresh.ledger


def test_an_empty_redis_halts(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    running = start_flusher()
    receive(journal, 2)
    wait_until(lambda: rows.seq() == 2)
    journal.client.flushall()
    halted(running, rows, "Redis is empty, the ledger stands at 2")


def test_a_redis_that_forgot_halts(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    running = start_flusher()
    receive(journal, 3)
    wait_until(lambda: rows.seq() == 3)
    journal.client.hset(KEYS.meta, "seq", 2)
    halted(running, rows, "Redis stands at 2, behind the ledger at 3")


def test_a_fresh_store_waits_in_peace(redis_client: Any, start_flusher: Start, rows: Rows) -> None:
    running = start_flusher()
    wait_until(lambda: rows("SELECT state FROM flusher_status") == [("running",)])
    journal = HandmadeJournal(redis_client)
    receive(journal, 1)
    wait_until(lambda: rows.seq() == 1)
    assert running.status.state == "running"


def test_the_journal_is_found_under_older_stream_ids(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    """A server that forgot and whose clock went back gives ids that lie before the cursor's: the seq decides."""
    running = start_flusher()
    receive(journal, 2)
    wait_until(lambda: rows.seq() == 2)
    kept = journal.client.xrange(KEYS.journal)
    journal.client.delete(KEYS.journal)
    for n, (_, fields) in enumerate(kept):
        journal.client.xadd(KEYS.journal, fields, id=f"{1000 + n}-0")
    for n in range(3):
        journal.adjust({"A": 1})
        journal.append(journal.packed(), f"{2000 + n}-0")
    flushed()
    assert rows("SELECT stream_id FROM journal_cursors") == [("2002-0",)]
    assert running.status.state == "running"


def test_a_ledger_ahead_of_its_cursor_halts(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    receive(journal, 2)
    running = start_flusher()
    wait_until(lambda: rows.seq() == 2)
    running.stop()
    rows("UPDATE journal_cursors SET seq = 1")
    rows("UPDATE inventory_levels SET on_hand = 5")
    halted(start_flusher(), rows, "the ledger is ahead of its cursor")
    assert rows("SELECT count(*) FROM journal_quarantine") == [(0,)]


def test_an_event_twice_in_the_journal_is_applied_once(
    journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None]
) -> None:
    journal.adjust({"A": 5})
    raw = journal.packed()
    for _ in range(3):
        journal.append(raw)
    receive(journal, 1)
    start_flusher()
    flushed()


def test_entries_that_overlap_give_only_what_is_new(
    journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None]
) -> None:
    journal.adjust({"A": 5})
    journal.adjust({"A": 5})
    first = journal.packed()
    schema, epoch, first_seq, at_ms, events = msgspec.msgpack.decode(first)
    more = Adjusted("x", "A=7=17=0", "IN", "r", "", "", "admin")
    journal.append(first)
    journal.append(msgspec.msgpack.encode([schema, epoch, first_seq, at_ms, [*events, more]]))
    journal.seq = 3
    journal.on_hand["A"] = 17
    journal.ledger.append((3, 0, "A", 7, 17))
    journal.client.hset(KEYS.meta, "seq", 3)
    start_flusher()
    flushed()
