"""Poison in the journal: what cannot be applied is set aside with its bytes, the rest flows on, the stock is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine.events import SCHEMA, Adjusted, Confirmed, Reserved
from tests.waiting import wait_until
from tests.worker.conftest import Rows, RunningFlusher
from tests.worker.handmade_journal import HandmadeJournal

Start = Callable[..., RunningFlusher]
pack = msgspec.msgpack.encode
AT_MS = 1_800_000_000_000
ID = f"{7:024x}{AT_MS:012x}"


def entry(*events: object, schema: object = SCHEMA, epoch: object = 1, seq: object = 2, at_ms: object = AT_MS) -> bytes:
    return pack([schema, epoch, seq, at_ms, list(events)])


def raw_text(data: bytes) -> msgspec.Raw:
    """A msgpack string of any bytes, UTF-8 or not."""
    return msgspec.Raw(b"\xd9" + bytes([len(data)]) + data)


def adjusted(lines: str = "A=5=15=0", reason: object = "why", kind: object = "IN", **more: object) -> list[object]:
    fields = {"reference_type": "T", "reference_id": "r", "actor": "admin", **more}
    return ["adjust", ID, lines, kind, reason, *fields.values()]


def put(journal: HandmadeJournal, raw: bytes) -> None:
    """Append an entry made above; `meta` tells its last seq."""
    _, _, first_seq, _, events = msgspec.msgpack.decode(raw, type=tuple[int, int, int, int, list[msgspec.Raw]])
    journal.seq = first_seq + len(events) - 1
    journal.append(raw)


UNREADABLE = {
    "no bytes at all": b"",
    "text": b"not msgpack",
    "cut off": entry(adjusted())[:-9],
    "random bytes": bytes(range(256)),
    "a map": pack({"schema": 1}),
    "too few fields": pack([1, 1, 2]),
    "a string for the seq": entry(adjusted(), seq="2"),
    "a seq past every bound": entry(adjusted(), seq=2**63),
    "a negative seq": entry(adjusted(), seq=-2),
    "an unknown schema": entry(adjusted(), schema=99),
    "a clock of the year 99999": entry(adjusted(), at_ms=10**16),
    "no events": entry(),
    "a float for the epoch": entry(adjusted(), epoch=1.5),
    "nested far too deep": b"\x91" * 100_000,
}


@pytest.mark.parametrize("form", UNREADABLE)
def test_an_entry_that_cannot_be_read(
    form: str, journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    """No event of it is known, so the next entry may leave a gap; here it leaves none."""
    journal.adjust({"A": 10})
    journal.flush()
    journal.append(UNREADABLE[form])
    journal.adjust({"A": 1})
    journal.flush()
    running = start_flusher()
    flushed()
    ((seq, applied, raw),) = rows("SELECT seq, applied, raw FROM journal_quarantine")
    assert (seq, applied, raw) == (2, "empty", UNREADABLE[form])
    assert running.status.state == "running"


BAD_EVENTS: dict[str, object] = {
    "unknown verb": ["teleport", ID, "A=5=15=0"],
    "no verb": [],
    "a number": 7,
    "too few fields": ["adjust", ID],
    "a line without balances": adjusted("A=5"),
    "lines that are no lines": adjusted("A=5=15=0,,"),
    "an empty text for lines": adjusted(""),
    "a quantity that is no number": adjusted("A=five=15=0"),
    "a quantity past 64 bits": adjusted(f"A={10**30}=15=0"),
    "nan": adjusted("A=nan=15=0"),
    "a negative balance": adjusted("A=-15=-5=0"),
    "a SKU with a quote": adjusted("A'\"B=5=15=0"),
    "a SKU of 10,000 characters": adjusted("A" * 10_000 + "=5=15=0"),
    "a type the ledger does not know": adjusted(kind="THEFT"),
    "a number for the reason": adjusted(reason=5),
    "an id that is none": ["confirm", "x'; DROP", "A=1=9=0", "o", "a", False],
    "a deadline past every calendar": ["reserve", ID, "A=1=10=1", 10**18, "o", "", '{"c":"c"}'],
    "details that are no JSON": ["reserve", ID, "A=1=10=1", AT_MS, "o", "", "{{"],
}


@pytest.mark.parametrize("form", BAD_EVENTS)
def test_an_event_that_cannot_be_applied(form: str, journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    """Its sequence number is passed, its neighbours in the same entry are applied."""
    journal.adjust({"A": 10})
    journal.flush()
    good = [Adjusted(ID, f"{sku}=1=1=0", "IN", "", "", "", "a") for sku in ("B", "C")]
    put(journal, entry(good[0], BAD_EVENTS[form], good[1]))
    put(journal, entry(adjusted("B=1=2=0"), seq=5))
    running = start_flusher()
    wait_until(lambda: rows.seq() == 5)
    assert rows.ledger() == [(1, 0, "A", 10, 10), (2, 0, "B", 1, 1), (4, 0, "C", 1, 1), (5, 0, "B", 1, 2)]
    ((seq, applied, error),) = rows("SELECT seq, applied, error FROM journal_quarantine")
    assert (seq, applied) == (3, "nothing")
    assert error
    assert running.status.quarantined == 1


def text_of(length: int) -> str:
    # Text that does not compress: an index row of it would be far too long.
    return msgspec.json.encode(list(range(length)))[:length].decode()


CLEANED: dict[str, tuple[list[object], str, str]] = {
    "a NUL in the reason": (adjusted(reason="a\0b"), "reason", "a\ufffdb"),
    "a NUL in the reference": (adjusted(reference_id="r\0"), "reference_id", "r\ufffd"),
    "a NUL for the actor": (adjusted(actor="\0"), "created_by", "\ufffd"),
    "bytes that are not UTF-8": (adjusted(reason=raw_text(b"caf\xe9")), "reason", "caf\ufffd"),
    "a lone surrogate": (adjusted(reason=raw_text(b"x\xed\xa0\x80")), "reason", "x\ufffd\ufffd\ufffd"),
    "a reference of 20,000 characters": (adjusted(reference_id=text_of(20_000)), "reference_id", text_of(512)),
    "a reason of a megabyte": (adjusted(reason="y" * 1_000_000), "reason", "y" * 4_000),
}


@pytest.mark.parametrize("form", CLEANED)
def test_broken_text_is_cleaned_and_the_units_count(
    form: str, journal: HandmadeJournal, start_flusher: Start, rows: Rows
) -> None:
    event, column, expected = CLEANED[form]
    journal.adjust({"A": 10})
    journal.flush()
    put(journal, entry(event, adjusted("A=1=16=0")))
    put(journal, entry(adjusted("A=4=20=0"), seq=4))
    start_flusher()
    wait_until(lambda: rows.seq() == 4)
    assert [row[3:] for row in rows.ledger()] == [(10, 10), (5, 15), (1, 16), (4, 20)]
    assert rows(f"SELECT {column} FROM inventory_transactions WHERE seq = 2") == [(expected,)]
    ((seq, applied),) = rows("SELECT seq, applied FROM journal_quarantine")
    assert (seq, applied) == (2, "cleaned")


def test_broken_text_of_a_reservation(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    journal.adjust({"A": 10})
    journal.flush()
    details = '{"c":"c\\u0000","b":"\\u0000"}'
    put(
        journal,
        entry(
            Reserved(ID, "A=2=10=2", AT_MS + 1, "own\0er", "", details),
            Confirmed(ID, "A=2=8=0", "or\0der", "act\0or", False),
        ),
    )
    start_flusher()
    wait_until(lambda: rows.seq() == 3)
    assert rows("SELECT customer_id, cart_id, owner, order_id, status FROM stock_reservations") == [
        ("c\ufffd", "\ufffd", "own\ufffder", "or\ufffdder", "COMPLETED")
    ]
    assert rows("SELECT applied FROM journal_quarantine") == [("cleaned",), ("cleaned",)]


def test_text_that_only_looks_dangerous_is_kept_as_it_is(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    nasty = "'; DROP TABLE x; -- \\ \" {} , \\N \t \n \u202e \U0001f600"
    journal.adjust({"A": 10}, reason=nasty, reference_type=nasty, reference_id=nasty, actor=nasty)
    held = journal.reserve({"A": 1}, customer_id=nasty, cart_id=nasty)
    journal.flush()
    start_flusher()
    flushed()
    journal.confirm(held, nasty)
    journal.flush()
    flushed()
    assert rows(
        "SELECT reason, reference_type, reference_id, created_by FROM inventory_transactions WHERE seq = 1"
    ) == [(nasty, nasty, nasty, nasty)]
    assert rows("SELECT customer_id, cart_id, order_id FROM stock_reservations") == [(nasty, nasty, nasty)]
    assert rows("SELECT count(*) FROM journal_quarantine") == [(0,)]


def sums_hold(rows: Rows) -> None:
    """Invariants 3 and 6, SKU by SKU."""
    assert (
        rows(
            "SELECT sku FROM inventory_levels l WHERE on_hand <> coalesce((SELECT sum(quantity) FROM"
            " inventory_transactions t WHERE t.sku = l.sku), 0)"
        )
        == []
    )
    assert (
        rows(
            "SELECT id FROM (SELECT id, previous_stock, lag(new_stock, 1, 0::bigint) OVER"
            " (PARTITION BY sku ORDER BY id) AS before FROM inventory_transactions) t WHERE previous_stock <> before"
        )
        == []
    )


def test_stock_moved_by_a_lost_event_is_seen_in_the_next(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows
) -> None:
    journal.adjust({"A": 10, "B": 4})
    journal.flush()
    put(journal, entry(["teleport", "A=5=15=0", "B=1=5=0"]))
    put(journal, entry(adjusted("A=1=16=0"), seq=3))
    running = start_flusher()
    wait_until(lambda: rows.seq() == 3)
    assert rows.ledger() == [
        (1, 0, "A", 10, 10),
        (1, 1, "B", 4, 4),
        (2, 0, "A", 5, 15),
        (3, 0, "A", 1, 16),
    ]
    # Also after a restart, for the other SKU, in the same missing event's place.
    running.stop()
    put(journal, entry(adjusted("B=1=6=0"), seq=4))
    running = start_flusher()
    wait_until(lambda: rows.seq() == 4)
    made_up = rows(
        "SELECT line, sku, quantity, transaction_type, reference_type, reference_id, created_by"
        " FROM inventory_transactions WHERE seq = 2 ORDER BY line"
    )
    assert made_up == [
        (0, "A", 5, "ADJUSTMENT", "Quarantine", "1:2", "flusher"),
        (1, "B", 1, "ADJUSTMENT", "Quarantine", "1:2", "flusher"),
    ]
    sums_hold(rows)
    # It explains each SKU once: a later difference is a break.
    put(journal, entry(adjusted("A=1=99=0"), seq=5))
    wait_until(lambda: running.status.state == "halted")
    assert "continuity of A" in running.status.reason


def test_an_unreadable_entry_may_have_held_any_number_of_events(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows
) -> None:
    journal.adjust({"A": 10})
    journal.flush()
    journal.append(b"rubbish where 2 to 4 were")
    start_flusher()
    wait_until(lambda: rows("SELECT count(*) FROM journal_quarantine") == [(1,)])
    assert rows.seq() == 1
    put(journal, entry(adjusted("A=1=18=0"), seq=5))
    wait_until(lambda: rows.seq() == 5)
    assert rows.ledger() == [(1, 0, "A", 10, 10), (2, 0, "A", 7, 17), (5, 0, "A", 1, 18)]
    sums_hold(rows)
    assert rows("SELECT applied FROM journal_quarantine") == [("nothing",)]


def test_what_postgres_refuses_is_found_and_set_aside_alone(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    """A reservation id that is there already: no reading of the event shows it, only the database does."""
    journal.adjust({"A": 1_000})
    first = journal.reserve({"A": 1})
    for _ in range(5):
        journal.flush()
        journal.adjust({"A": 1})
        journal.reserve({"A": 1})
    journal.flush()
    running = start_flusher()
    flushed()
    running.stop()
    for n in range(6):
        journal.adjust({"A": 1})
        if n == 3:
            twice = Reserved(first, f"A=0={journal.on_hand['A']}={journal.reserved['A']}", AT_MS, "o", "", '{"c":"x"}')
            journal.pending.append(twice)
        journal.reserve({"A": 2})
        journal.adjust({"A": 1})
        journal.flush()
    start_flusher()
    flushed()
    ((applied, error),) = rows("SELECT applied, error FROM journal_quarantine")
    assert applied == "nothing"
    assert "duplicate key" in error
    sums_hold(rows)


def test_an_end_without_its_reservation_still_moves_the_stock(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows
) -> None:
    journal.adjust({"A": 10})
    there = journal.reserve({"A": 1})
    journal.flush()
    running = start_flusher()
    wait_until(lambda: rows.seq() == 2)
    lost = f"{99:024x}{AT_MS:012x}"
    put(
        journal,
        entry(
            Confirmed(lost, "A=1=9=1", "o", "a", False),
            Confirmed(there, "A=1=8=0", "o", "a", False),
            ["amend", lost, "A=1=8=1", AT_MS, "a"],
            seq=3,
        ),
    )
    wait_until(lambda: rows.seq() == 5)
    assert rows("SELECT on_hand FROM inventory_levels") == [(8,)]
    assert rows("SELECT status FROM stock_reservations") == [("COMPLETED",)]
    found = rows("SELECT seq, applied, raw FROM journal_quarantine ORDER BY seq")
    assert found == [(3, "stock", lost.encode()), (5, "stock", lost.encode())]
    assert running.status.state == "running"
    sums_hold(rows)


def test_the_raw_bytes_can_be_read_again(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    event: Any = ["teleport", "A=5=15=0"]
    put(journal, entry(event, seq=1))
    start_flusher()
    wait_until(lambda: rows.seq() == 1)
    ((raw,),) = rows("SELECT raw FROM journal_quarantine")
    assert msgspec.msgpack.decode(raw) == event
