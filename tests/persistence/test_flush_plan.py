"""A flush plan by itself: what it leaves behind when undone, and that cutting the journal elsewhere changes nothing."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from engine.events import SCHEMA, Adjusted, Confirmed, Reserved
from persistence.flush_plan import Cursor, FlushPlan, JournalBroken, JournalGap
from persistence.journal_entries import JournalEntry, read_entry
from persistence.level_book import LevelBook

AT_MS = 1_800_000_000_000


def journal(chance: random.Random, entries: int = 30) -> list[JournalEntry]:
    """Receipts, holds and sales of a few SKUs, now and then an event that is none."""
    on_hand = dict.fromkeys("ABCD", 0)
    reserved = dict.fromkeys("ABCD", 0)
    open_holds: list[tuple[str, str, int]] = []
    seq, made = 0, []
    for number in range(1, entries + 1):
        events: list[Any] = []
        for _ in range(chance.randint(1, 5)):
            sku = chance.choice("ABCD")
            kind = chance.choice(["adjust", "adjust", "reserve", "confirm", "rubbish"])
            if kind == "confirm" and open_holds:
                name, sku, units = open_holds.pop()
                on_hand[sku] -= units
                reserved[sku] -= units
                text = f"{sku}={units}={on_hand[sku]}={reserved[sku]}"
                events.append(Confirmed(name, text, chance.choice(["", "o"]), "storefront", False))
            elif kind == "reserve" and on_hand[sku] - reserved[sku] > 1:
                name = f"{chance.getrandbits(96):024x}{AT_MS:012x}"
                reserved[sku] += 1
                open_holds.append((name, sku, 1))
                text = f"{sku}=1={on_hand[sku]}={reserved[sku]}"
                events.append(Reserved(name, text, AT_MS + 1, "storefront", "", '{"c":"c"}'))
            elif kind == "rubbish":
                events.append(["rubbish"])
            else:
                on_hand[sku] += 3
                text = f"{sku}=3={on_hand[sku]}={reserved[sku]}"
                events.append(Adjusted("", text, "IN", chance.choice(["why", "a\0b"]), "", "", "admin"))
        entry = read_entry(f"{number}-0", msgspec.msgpack.encode([SCHEMA, 1, seq + 1, AT_MS + number, events]))
        assert isinstance(entry, JournalEntry)
        made.append(entry)
        seq += len(events)
    return made


def picture(book: LevelBook) -> dict[str, tuple[int, int, int, int]]:
    return {
        sku: (known.on_hand, known.reserved, known.seq, known.at_ms) for sku, known in book.levels.items() if known.seq
    }


def new_book() -> LevelBook:
    return LevelBook(lambda sku: None)


@pytest.mark.parametrize("seed", [*range(10), None])
def test_undone_plans_leave_no_trace_and_any_cut_gives_the_same_rows(seed: int | None) -> None:
    seed = random.randrange(2**32) if seed is None else seed
    print("seed", seed)
    chance = random.Random(seed)
    entries = journal(chance)
    whole = FlushPlan(0, Cursor(1, 0, "0-0"), (whole_book := new_book()))
    for entry in entries:
        whole.add(entry)

    book, cursor, rows, quarantine, left = new_book(), Cursor(1, 0, "0-0"), [], [], list(entries)
    while left:
        taken = chance.randint(1, min(4, len(left)))
        before, missing = picture(book), dict(book.missing)
        plan = FlushPlan(0, cursor, book)
        for entry in left[:taken]:
            plan.add(entry)
        if chance.random() < 0.5:
            plan.undo()
            assert picture(book) == before
            assert book.missing == missing
            continue
        rows += plan.ledger
        quarantine += plan.quarantine
        cursor, left = plan.end, left[taken:]
    assert rows == whole.ledger
    assert quarantine == whole.quarantine
    assert cursor == whole.end
    assert picture(book) == picture(whole_book)
    assert book.missing == whole_book.missing


@pytest.mark.parametrize("seed", range(5))
def test_event_by_event_gives_the_same_rows(seed: int) -> None:
    entries = journal(random.Random(seed))
    whole = FlushPlan(0, Cursor(1, 0, "0-0"), new_book())
    for entry in entries:
        whole.add(entry)
    book, cursor, rows, quarantine = new_book(), Cursor(1, 0, "0-0"), [], []
    for entry in entries:
        while cursor.seq < entry.last_seq:
            plan = FlushPlan(0, cursor, book)
            assert plan.add_event(entry)
            rows += plan.ledger
            quarantine += plan.quarantine
            cursor = plan.end
    assert rows == whole.ledger
    assert [(q.seq, q.applied) for q in quarantine] == [(q.seq, q.applied) for q in whole.quarantine]
    assert cursor == whole.end


def test_a_gap_is_told_from_a_break() -> None:
    def entry(seq: int, on_hand: int) -> JournalEntry:
        event = Adjusted("", f"A=5={on_hand}=0", "IN", "", "", "", "admin")
        read = read_entry(f"{seq}-0", msgspec.msgpack.encode([SCHEMA, 1, seq, AT_MS, [event]]))
        assert isinstance(read, JournalEntry)
        return read

    plan = FlushPlan(0, Cursor(1, 0, "0-0"), new_book())
    plan.add(entry(1, 5))
    with pytest.raises(JournalGap, match="2 was expected, entry 3-0 begins at 3"):
        plan.add(entry(3, 15))
    with pytest.raises(JournalBroken, match="continuity of A broken at 2") as caught:
        plan.add(entry(2, 999))
    assert not isinstance(caught.value, JournalGap)
