"""The account: a true run passes; each kind of lie about it, in history, journal or ledger, is told."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from engine import Configure, Engine
from engine.commands import Expire
from engine.events import (
    Adjusted,
    Amended,
    Confirmed,
    Entry,
    Event,
    Expired,
    Released,
    Reserved,
    decode_entry,
    event_lines,
)
from engine.keys import partition_keys
from tests.checkers.accounting import Account, LedgerRow, account
from tests.checkers.history import UNKNOWN, Answer, Call, History, history_of
from tests.checkers.recorder import EngineClient, Recorder
from tests.checkers.workload import Shoppers

SKUS = {"A": 30, "B": 20}


class Run:
    """What the checker gets; a test changes one thing in it."""

    def __init__(self, events: list[Any], entries: list[Entry]) -> None:
        self.events = events
        self.entries = entries
        self.rows = rows_of(entries)

    @property
    def history(self) -> History:
        return history_of(self.events)

    def account(self) -> Account:
        return account(self.history, self.entries, self.rows)

    # -- finding and changing

    def answer_to(self, verb: str, status: str, nth: int = 0) -> tuple[int, Call, Answer]:
        calls = {one.number: one for one in self.events if isinstance(one, Call)}
        found = [
            (place, calls[one.number], one)
            for place, one in enumerate(self.events)
            if isinstance(one, Answer) and one.status == status and calls[one.number].verb == verb
        ]
        return found[nth]

    def change_event(self, kind: type[Event], change: Callable[[Any], list[Any]]) -> None:
        """Put what `change` gives in the place of the last event of a kind; later numbers move along."""
        entry_at, event_at = next(
            (place, inner)
            for place in reversed(range(len(self.entries)))
            for inner, event in enumerate(self.entries[place].events)
            if isinstance(event, kind)
        )
        entry = self.entries[entry_at]
        events = list(entry.events)
        events[event_at : event_at + 1] = change(events[event_at])
        self.entries[entry_at] = replace(entry, events=tuple(events))
        seq, kept = 1, []
        for one in self.entries:
            if one.events:
                kept.append(replace(one, first_seq=seq))
                seq = kept[-1].last_seq + 1
        self.entries = kept
        self.rows = rows_of(kept)


def rows_of(entries: list[Entry]) -> list[LedgerRow]:
    rows, stock = [], dict.fromkeys(SKUS, 0)
    for entry in entries:
        for offset, event in enumerate(entry.events):
            if isinstance(event, Confirmed | Adjusted):
                for place, line in enumerate(event_lines(event.lines)):
                    units = -line.quantity if isinstance(event, Confirmed) else line.quantity
                    had, stock[line.sku] = stock[line.sku], stock[line.sku] + units
                    seq = entry.first_seq + offset
                    rows.append(LedgerRow(entry.epoch, seq, place, line.sku, units, had, stock[line.sku]))
    return rows


@pytest.fixture
async def run(engine: Engine, redis_client: redis.Redis) -> Run:
    recorder = Recorder()
    for sku, units in SKUS.items():
        await engine.execute(Configure(sku, 0, 0, True, units, "admin"))
        recorder.stock(sku, units)
    client = EngineClient("c1", engine, recorder)
    await Shoppers([client], [(("A", 1),), (("A", 1), ("B", 2))], seed=11).run(300)
    # One of each that the lies below need, whatever the shoppers did.
    await client.send("adjust", "ad" * 12, (("A", 5),), operation="add")
    await client.send("adjust", "ad" * 12, (("A", 5),), operation="add")
    for base, verb in (("c1" * 12, "confirm"), ("c2" * 12, "release"), ("c3" * 12, "amend")):
        held = await client.send("reserve", base, (("A", 1),), ttl_ms=60_000)
        lines = (("A", 2),) if verb == "amend" else ()
        await client.send(verb, base, lines, created_ms=int(held.id[24:], 16))  # type: ignore[arg-type]
    await client.send("reserve", "c3" * 12, (("A", 1),), ttl_ms=60_000)
    await client.send("reserve", "c4" * 12, (("A", 999),), ttl_ms=60_000)
    entries: Any = redis_client.xrange(partition_keys(0).journal)
    return Run(recorder.events, [decode_entry(fields[b"b"]) for _, fields in entries])


async def test_a_true_run(run: Run) -> None:
    told = run.account()

    assert told.problems == ()
    assert told.ok
    assert told.events == sum(len(entry.events) for entry in run.entries)
    assert told.operations > 300


async def test_archive_and_stream_may_overlap_and_come_in_any_order(run: Run) -> None:
    run.entries = run.entries + run.entries[-40:]
    random.Random(3).shuffle(run.entries)

    assert run.account().problems == ()


async def test_what_is_unknown_may_have_happened_or_not(run: Run) -> None:
    place, _, answer = run.answer_to("reserve", "ok")
    run.events[place] = replace(answer, status=UNKNOWN)
    place, _, answer = run.answer_to("reserve", "insufficient_stock")
    run.events[place] = replace(answer, status=UNKNOWN)

    assert run.account().problems == ()


async def test_a_new_epoch_may_begin_anywhere_and_is_dense_itself(run: Run) -> None:
    half = len(run.entries) // 2
    ahead = [replace(entry, epoch=2, first_seq=entry.first_seq + 100) for entry in run.entries[half:]]
    run.events = [replace(one, seq=0) if isinstance(one, Answer) else one for one in run.events]
    run.entries[half:] = ahead
    run.rows = rows_of(run.entries)
    assert run.account().problems == ()

    del run.entries[half + 3]
    assert any("is missing" in problem for problem in run.account().problems)


# -- one lie each; the sentence that must be told


def lose(kind: type[Event]) -> Callable[[Run], None]:
    return lambda run: run.change_event(kind, lambda event: [])


def double(kind: type[Event]) -> Callable[[Run], None]:
    return lambda run: run.change_event(kind, lambda event: [event, event])


def retell(verb: str, told: str, **change: Any) -> Callable[[Run], None]:
    def lie(run: Run) -> None:
        place, _, answer = run.answer_to(verb, told, -1)
        run.events[place] = replace(answer, **change)

    return lie


def drop_an_entry(run: Run) -> None:
    del run.entries[10]


def two_versions_of_an_entry(run: Run) -> None:
    run.entries.append(replace(run.entries[10], at_ms=run.entries[10].at_ms + 1))


def oversell(run: Run) -> None:
    def more(event: Reserved) -> list[Reserved]:
        (line,) = event_lines(event.lines)
        return [replace(event, lines=f"A={line.quantity + 900}={line.on_hand}={line.reserved + 900}")]

    run.change_event(Reserved, more)


def stranger(run: Run) -> None:
    run.change_event(Released, lambda event: [event, Amended("f" * 36, "A=1=1=1", 0, "")])


def forget_a_call(run: Run) -> None:
    """The engine did something that no client has asked for."""
    place, call, _ = run.answer_to("adjust", "ok", -1)
    number = call.number
    del run.events[place]
    run.events = [one for one in run.events if getattr(one, "base", "") != call.base and one is not call]
    calls = {one.number for one in run.events if isinstance(one, Call)}
    run.events = [one for one in run.events if not isinstance(one, Answer) or one.number in calls]
    assert number not in calls


def later_than_told(run: Run) -> None:
    place, _, answer = run.answer_to("reserve", "ok", -1)
    run.events[place] = replace(answer, seq=answer.seq - 1)


def against_real_time(run: Run) -> None:
    """The one that came last in the journal is said to have been answered before the first one was sent."""
    place, call, answer = run.answer_to("reserve", "ok", -1)
    first = min(one.at_ns for one in run.events if isinstance(one, Call))
    run.events[place] = replace(answer, at_ns=first - 1)
    run.events[run.events.index(call)] = replace(call, at_ns=first - 2)


def row(change: Callable[[list[LedgerRow]], Any]) -> Callable[[Run], None]:
    def lie(run: Run) -> None:
        change(run.rows)

    return lie


def of_row(nth: int, **change: Any) -> Callable[[Run], None]:
    return row(lambda rows: rows.__setitem__(nth, replace(rows[nth], **change)))


LIES: dict[str, tuple[Callable[[Run], None], str]] = {
    "a reserve is lost": (lose(Reserved), "is not in the journal"),
    "a sale is lost": (lose(Confirmed), "is not in the journal"),
    "a release is lost": (lose(Released), "is not in the journal"),
    "an adjustment is lost": (lose(Adjusted), "is not in the journal"),
    "an amend is lost": (lose(Amended), "was amended 0 times"),
    "a reserve is doubled": (double(Reserved), "happened 2 times"),
    "a sale is doubled": (double(Confirmed), "happened 2 times"),
    "an adjustment is doubled": (double(Adjusted), "happened 2 times"),
    "an amend is doubled": (double(Amended), "was amended 2 times"),
    "a sale is told twice": (retell("reserve", "replayed", status="ok"), "told to be done now more than once"),
    "a refusal was none": (retell("confirm", "ok", status="not_active"), "was refused and is event"),
    "a refused reserve is told ok": (retell("reserve", "insufficient_stock", status="ok"), "is not in the journal"),
    "another id at the replay": (retell("reserve", "replayed", id="c3" * 12 + "0" * 12), "was told to be"),
    "other lines told": (retell("reserve", "ok", held=(("A", 77),)), "was told to hold"),
    "another first answer": (retell("reserve", "replayed", state="", held=(("A", 2),)), "was told to hold"),
    "other amended lines told": (retell("amend", "ok", held=(("A", 77),)), "was told to be amended"),
    "another adjustment at the replay": (retell("adjust", "replayed", levels=(("A", 1, 1),)), "was told (('A', 1, 1)"),
    "an entry is missing": (drop_an_entry, "is missing"),
    "two versions of an entry": (two_versions_of_an_entry, "two entries begin"),
    "more reserved than there is": (oversell, "on hand"),
    "a reservation nobody made": (stranger, "nobody asked for it"),
    "a change nobody asked for": (forget_a_call, "nobody asked for it"),
    "later than told": (later_than_told, "was told to be in event"),
    "against real time": (against_real_time, "which was acknowledged before it was sent"),
    "a row is missing": (row(lambda rows: rows.pop(7)), "has no ledger row"),
    "the last row is missing": (row(lambda rows: rows.pop()), "the ledger adds up to"),
    "a row stands twice": (row(lambda rows: rows.insert(8, rows[7])), "stands twice"),
    "a row without an event": (
        row(lambda rows: rows.append(LedgerRow(1, 10**6, 0, "A", 1, rows[-1].new_stock, rows[-1].new_stock + 1))),
        "has no event",
    ),
    "another quantity": (of_row(9, quantity=99), "its event says"),
    "another SKU": (of_row(9, sku="C"), "its event says"),
    "another balance": (of_row(9, new_stock=99), "its event says"),
    "another balance before": (of_row(9, previous_stock=99), ", not 99"),
    "rows out of order": (row(lambda rows: rows.insert(5, rows.pop(9))), "was "),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_is_told(run: Run, name: str) -> None:
    lie, sentence = LIES[name]
    lie(run)

    told = run.account()

    assert not told.ok
    assert any(sentence in problem for problem in told.problems), told.problems


async def test_an_expire_that_another_did_is_no_lie(engine: Engine, redis_client: redis.Redis) -> None:
    """A deadline that passed may be in the journal though whoever asked for it was told `not_active`."""
    await engine.execute(Configure("A", 0, 0, True, 5, "admin"))
    recorder = Recorder()
    recorder.stock("A", 5)
    client = EngineClient("c1", engine, recorder)
    held = await client.send("reserve", "e1" * 12, (("A", 1),), ttl_ms=1_000)
    engine.batcher.clock_ms = held.deadline_ms
    assert (await engine.execute(Expire(held.id[:24], f"{held.id} A=1"))).status == "ok"
    answer = await client.send("expire", "e1" * 12, (("A", 1),), created_ms=int(held.id[24:], 16))
    assert answer.status == "not_active"

    entries: Any = redis_client.xrange(partition_keys(0).journal)
    told = account(recorder.history(), [decode_entry(fields[b"b"]) for _, fields in entries])

    assert told.problems == ()
    assert any(isinstance(one, Expired) for entry in entries for one in decode_entry(entry[1][b"b"]).events)
