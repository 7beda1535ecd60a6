"""What clients were told, held against the journal and the ledger, in linear time: for runs too long to search.

Owns the account; never reads a server: it takes a history, the journal's entries and the ledger's rows, and tells every
sentence that is not true.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from engine.events import (
    Adjusted,
    Amended,
    Announced,
    Configured,
    Confirmed,
    Entry,
    Event,
    Expired,
    Released,
    Reserved,
    event_lines,
)
from tests.checkers.history import History, Lines, Operation
from tests.model.journal_replay import JournalReplay

MOST_PROBLEMS: Final = 50
_KINDS: Final[dict[str, type]] = {
    "reserve": Reserved,
    "confirm": Confirmed,
    "release": Released,
    "expire": Expired,
    "adjust": Adjusted,
}
"""Verbs that happen at most once for a base."""


class LedgerRow(Struct, frozen=True):
    """One row of inventory_transactions."""

    epoch: int
    seq: int
    line: int
    sku: str
    quantity: int
    previous_stock: int
    new_stock: int


class Account(Struct, frozen=True):
    """`ok` if nothing untrue was found; at most MOST_PROBLEMS are told."""

    ok: bool
    operations: int
    events: int
    problems: tuple[str, ...]
    counters: dict[str, tuple[int, int]]
    """SKU -> (on_hand, reserved) at the journal's end, for whoever compares them with Redis."""


class Numbered(Struct, frozen=True):
    """An event with its place in the whole journal."""

    place: int
    epoch: int
    seq: int
    event: Event


def account(
    history: History,
    entries: Iterable[Entry],
    rows: Sequence[LedgerRow] | None = None,
    *,
    complete: bool = True,
) -> Account:
    """Hold a run to account.

    `entries`: the journal's, archive and stream together, in any order; the same entry may come twice. `rows`: the
    whole ledger, in the order of its ids; None when there is none to look at. `complete`: the history has every client,
    so whatever nobody asked for (but for deadlines that passed) is a problem too.
    """
    books = Books(entries)
    books.hold_operations(history)
    books.hold_order(history)
    if complete:
        books.hold_uninvited(history)
    if rows is not None:
        books.hold_ledger(rows)
    problems = books.problems
    return Account(not problems, len(history.operations), len(books.events), tuple(problems), books.counters)


class Books:
    """The journal in order, by what it is about."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.problems: list[str] = []
        self.events: list[Numbered] = []
        self.counters: dict[str, tuple[int, int]] = {}
        self._by_base: dict[tuple[type, str], list[Numbered]] = defaultdict(list)
        self._read(entries)

    def hold_operations(self, history: History) -> None:
        """Each acknowledged operation happened exactly once, each refused one not, each unknown one at most once."""
        asked: dict[tuple[str, str], list[Operation]] = defaultdict(list)
        ids: dict[str, str] = {}
        for one in history.operations:
            if one.call.base:
                asked[one.call.verb, one.call.base].append(one)
            if one.answer and one.answer.id:
                first = ids.setdefault(one.call.base, one.answer.id)
                if first != one.answer.id:
                    self._say(f"{one.call.base} was told to be {first} and {one.answer.id}")
        for (verb, base), operations in asked.items():
            if verb == "amend":
                self._hold_amends(base, operations)
            elif verb in _KINDS:
                self._hold_once(verb, base, operations)
                if verb == "adjust":
                    self._hold_levels(base, operations)
                for event in self._by_base[_KINDS[verb], base] if base in ids else ():
                    if event.event.id != ids[base]:  # type: ignore[union-attr]
                        self._say(f"event {event.seq} is about another {base} than was told")

    def hold_order(self, history: History) -> None:
        """What was acknowledged before another was sent stands before it in the journal, and where the answer said."""
        told: list[tuple[int, int]] = []
        begun: list[tuple[int, int, Operation]] = []
        for one in history.operations:
            if one.answer is None or one.answer.status not in {"ok", "replayed"} or one.call.verb not in _KINDS:
                continue
            found = self._by_base[_KINDS[one.call.verb], one.call.base]
            if len(found) != 1:
                continue
            told.append((one.answer.at_ns, found[0].place))
            if one.answer.status == "ok":
                begun.append((one.call.at_ns, found[0].place, one))
                if one.answer.seq and found[0].seq > one.answer.seq:
                    self._say(f"#{one.call.number} was told to be in event {one.answer.seq}, it is {found[0].seq}")
        told.sort()
        begun.sort(key=lambda pair: pair[0])
        latest, position = -1, 0
        for called_ns, place, one in begun:
            while position < len(told) and told[position][0] < called_ns:
                latest = max(latest, told[position][1])
                position += 1
            if place < latest:
                self._say(
                    f"#{one.call.number} ({one.call.verb} {one.call.base}) is event {self.events[place].seq}, before "
                    f"event {self.events[latest].seq}, which was acknowledged before it was sent"
                )

    def hold_uninvited(self, history: History) -> None:
        """Nothing happened that nobody asked for, but for deadlines that passed and the opening stock of a new SKU."""
        asked = {(one.call.verb, one.call.base) for one in history.operations}
        opening = False
        for one in self.events:
            event = one.event
            verbs = [verb for verb, kind in _KINDS.items() if isinstance(event, kind)]
            if isinstance(event, Amended):
                verbs = ["amend"]
            uninvited = bool(verbs) and not isinstance(event, Expired) and (verbs[0], _base(event)) not in asked
            if uninvited and not (opening and isinstance(event, Adjusted)):
                self._say(f"event {one.seq}: {verbs[0]} {_base(event)}, and nobody asked for it")
            opening = isinstance(event, Configured) and event.created

    def hold_ledger(self, rows: Sequence[LedgerRow]) -> None:
        """Each line of each sale and adjustment is one row, their balances follow each other, nothing else is there."""
        due: dict[tuple[int, int, int], tuple[str, int, int]] = {}
        for one in self.events:
            if isinstance(one.event, Confirmed | Adjusted):
                sign = -1 if isinstance(one.event, Confirmed) else 1
                for place, line in enumerate(event_lines(one.event.lines)):
                    due[one.epoch, one.seq, place] = (line.sku, sign * line.quantity, line.on_hand)
        stock: dict[str, int] = defaultdict(int)
        written = set()
        for row in rows:
            name = f"ledger row ({row.epoch}, {row.seq}, {row.line})"
            key = (row.epoch, row.seq, row.line)
            if key in written:
                self._say(f"{name} stands twice")
            elif key not in due:
                self._say(f"{name} has no event")
            elif due[key] != (row.sku, row.quantity, row.new_stock):
                self._say(f"{name} says {row.sku} {row.quantity:+d} = {row.new_stock}, its event says {due[key]}")
            if row.previous_stock != stock[row.sku] or row.previous_stock + row.quantity != row.new_stock:
                self._say(f"{name}: {row.sku} was {stock[row.sku]}, not {row.previous_stock}")
            written.add(key)
            stock[row.sku] = row.new_stock
        for key in due.keys() - written:
            self._say(f"event {key[1]} of epoch {key[0]} has no ledger row for line {key[2]}")
        for sku, (on_hand, _) in self.counters.items():
            if stock[sku] != on_hand:
                self._say(f"{sku}: {on_hand} on hand, the ledger adds up to {stock[sku]}")

    # -- parts

    def _say(self, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def _read(self, entries: Iterable[Entry]) -> None:
        """Dense, without a contradiction, and never more reserved than there is: JournalReplay says so or not."""
        known: dict[tuple[int, int], Entry] = {}
        for entry in entries:
            if known.setdefault((entry.epoch, entry.first_seq), entry) != entry:
                self._say(f"two entries begin at event {entry.first_seq} of epoch {entry.epoch}")
        replay, epoch = JournalReplay(), 0
        for (entry_epoch, first_seq), entry in sorted(known.items()):
            if entry_epoch != epoch and epoch:
                replay.next_seq = first_seq
            epoch = entry_epoch
            try:
                replay.feed(entry)
            except (AssertionError, KeyError) as error:
                self._say(f"entry at event {first_seq} of epoch {epoch}: {error}")
                replay.next_seq = entry.last_seq + 1
            for offset, event in enumerate(entry.events):
                numbered = Numbered(len(self.events), epoch, first_seq + offset, event)
                self.events.append(numbered)
                if not isinstance(event, Configured | Announced):
                    self._by_base[type(event), _base(event)].append(numbered)
        self.counters = replay.counters

    def _hold_once(self, verb: str, base: str, operations: list[Operation]) -> None:
        found = self._by_base[_KINDS[verb], base]
        names = ", ".join(f"#{one.call.number} {one.status}" for one in operations)
        done = [one for one in operations if one.status in {"ok", "replayed"}]
        # An expire that finds the work done by another's shortage says not_active; the deadline passes by itself.
        if len(found) > 1:
            self._say(f"{verb} {base} ({names}) happened {len(found)} times")
        elif done and not found:
            self._say(f"{verb} {base} ({names}) is not in the journal")
        elif found and not done and verb != "expire" and all(one.answer is not None for one in operations):
            self._say(f"{verb} {base} ({names}) was refused and is event {found[0].seq}")
        if sum(one.status == "ok" for one in operations) > 1:
            self._say(f"{verb} {base} ({names}) was told to be done now more than once")
        if verb == "reserve" and len(found) == 1 and done:
            self._hold_first_lines(done, found[0])

    def _hold_first_lines(self, done: list[Operation], event: Numbered) -> None:
        """The reserve, and each repetition that gives the first answer, told what the journal says was held."""
        held = tuple((line.sku, line.quantity) for line in event_lines(event.event.lines))  # type: ignore[union-attr]
        for one in done:
            answer = one.answer
            first = answer is not None and (answer.status == "ok" or not answer.state)
            if answer is not None and first and answer.held is not None and answer.held != held:
                self._say(f"#{one.call.number} was told to hold {answer.held}, event {event.seq} holds {held}")

    def _hold_levels(self, base: str, operations: list[Operation]) -> None:
        found = self._by_base[Adjusted, base]
        if len(found) != 1:
            return
        levels = tuple((line.sku, line.on_hand, line.reserved) for line in event_lines(found[0].event.lines))  # type: ignore[union-attr]
        for one in operations:
            if one.answer and one.answer.levels is not None and one.answer.levels != levels:
                self._say(f"#{one.call.number} was told {one.answer.levels}, event {found[0].seq} says {levels}")

    def _hold_amends(self, base: str, operations: list[Operation]) -> None:
        found = len(self._by_base[Amended, base])
        done = sum(one.status == "ok" for one in operations)
        unknown = sum(one.answer is None for one in operations)
        if not done <= found <= done + unknown:
            self._say(f"{base} was amended {found} times: {done} acknowledged, {unknown} of unknown outcome")
        told = {one.answer.held for one in operations if one.answer and one.status == "ok" and one.answer.held}
        held: set[Lines] = {
            tuple((line.sku, line.quantity) for line in event_lines(one.event.lines) if line.quantity)  # type: ignore[union-attr]
            for one in self._by_base[Amended, base]
        }
        for lines in told - held:
            self._say(f"{base} was told to be amended to {lines}, the journal knows {sorted(held)}")


def _base(event: Event) -> str:
    return "" if isinstance(event, Configured) else event.id[:24]
