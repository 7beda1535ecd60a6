"""What one flush will write: journal entries turned into ledger rows, levels and reservation changes, checked.

Owns the rules of continuity and quarantine; never talks to Postgres (ledger_writer.py writes a plan) or to Redis.

Sequence. An entry must begin where the cursor ends; what lies before the cursor is passed over. Anything else is a gap
and halts the partition (JournalBroken), as does a SKU whose on_hand before an event is not what its level says: nothing
is ever skipped to get on. One exception: a break that reconciliation has found and somebody has authorised
(`level_corrections`) is taken over as an ADJUSTMENT row with reference_type `Reconciliation`, once and only if it is
exactly as large; the repair that follows in the journal takes it back. Its row stands before those of the event in
which the break shows, with a negative line number.

Quarantine. What cannot be applied goes to `journal_quarantine` with its raw bytes, in the same transaction, and the
rest flows on:
- broken text (NUL, bytes that are no UTF-8, far too long): the event is applied with the text cleaned, since the units
  are right and units are what the ledger is about (`applied` = cleaned).
- an event that cannot be read, or that Postgres refuses: its sequence number is passed (`applied` = nothing). If it
  moved stock, the next event of that SKU shows it: its on_hand before differs from the level. The difference is then
  written as an ADJUSTMENT row with reference_type `Quarantine`, under the sequence number of the missing event, so that
  invariants 3 and 6 hold again. Only a SKU that no event has touched since the missing one is re-based; any other
  difference is a break. Until such a next event, reconciliation shows the SKU as drifting, which is true.
- an entry whose header cannot be read: the same, but it is not known how many sequence numbers it had, so that the
  next entry may begin at any later number. If that one leaves no gap, the unreadable one held no event of ours
  (`applied` = empty).
- a reservation's event without its row in Postgres: stock is applied, the event is kept (`applied` = stock).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from engine.events import (
    Adjusted,
    Amended,
    Announced,
    Configured,
    Confirmed,
    Expired,
    Released,
    Reserved,
)
from engine.identity import BASE_LENGTH, ID_LENGTH
from engine.limits import is_sku
from engine.results import Details
from persistence.copy_rows import NULL, ledger_row, postgres_time, text_field
from persistence.journal_entries import FIRST_MS, LAST_MS, BadEvent, JournalEntry, UnreadableEntry
from persistence.level_book import Correction, KnownLevel, LevelBook
from persistence.reservation_changes import OpenedReservation, ReservationChanges

MAX_NAME: Final = 512
"""Characters kept of an id or reference; the engine's own bound is lower, an index row's is 2,704 bytes."""

MAX_REASON: Final = 4_000
"""Characters kept of a reason."""

_MOST: Final = 2**53
_TYPES: Final = frozenset({"IN", "OUT", "ADJUSTMENT", "RETURN", "DAMAGE"})
_OUT_ORDER: Final = text_field("OUT") + text_field("Order")
_OUT_RESERVATION: Final = text_field("OUT") + text_field("Reservation")
_REBASED: Final = text_field("ADJUSTMENT") + text_field("Quarantine")
_REBASED_WHY: Final = (
    NULL + text_field("flusher") + text_field("effect of a quarantined journal event, seen in the next event")
)
_CORRECTED: Final = text_field("ADJUSTMENT") + text_field("Reconciliation")
_details = msgspec.json.Decoder(Details).decode

Applied = Literal["nothing", "stock", "cleaned", "empty"]
Line = tuple[KnownLevel, int, int, int]
"""Level, quantity, on_hand after, reserved after."""


class JournalBroken(Exception):
    """The journal does not continue what Postgres holds. The partition must halt; nothing was written."""


class JournalGap(JournalBroken):
    """The entry begins after the sequence number that comes next."""


class BadEventError(Exception):
    """This event cannot be applied; it goes to quarantine."""


class Cursor(Struct, frozen=True):
    """How far the ledger has followed a partition's journal."""

    epoch: int
    seq: int
    stream_id: str


class Quarantined(Struct, frozen=True):
    """A row of `journal_quarantine`."""

    seq: int
    stream_id: str
    applied: Applied
    raw: bytes
    error: str


class FlushPlan:
    """One flush: add entries in order, then have it written. Moves `book` along; `undo` puts it back."""

    def __init__(self, partition: int, cursor: Cursor, book: LevelBook) -> None:
        self.partition = partition
        self.start = cursor
        self.epoch = cursor.epoch
        self.seq = cursor.seq
        self.stream_id = cursor.stream_id
        self.events = 0
        self.ledger: list[bytes] = []
        self.touched: dict[str, tuple[KnownLevel, int, int, int, int]] = {}
        """SKU -> its level and what it said before this plan."""
        self.reservations = ReservationChanges()
        self.settings: dict[str, Configured] = {}
        self.quarantine: list[Quarantined] = []
        self.archive: list[JournalEntry] = []
        """Entries whose last event this plan passes."""
        self.announced: list[str] = []
        """Bases of the announcements that this plan meets in the journal."""
        self.corrected: list[tuple[Correction, int]] = []
        """Authorised breaks that this plan takes over, each with the sequence number where it showed."""
        self.found_empty: list[int] = []
        """Sequence numbers under which an entry was set aside that held no event after all."""
        self._book = book
        self._missing_before = dict(book.missing)
        self._at_ms = 0
        self._at = 0
        self._repair_id = ""
        """Of the repair whose own event is being added."""
        self._text_was_cleaned = False
        self._actors: dict[str, bytes] = {}
        self._appliers: dict[type, Callable[[int, Any], None]] = {
            Reserved: self._reserved,
            Amended: self._amended,
            Confirmed: self._confirmed,
            Released: self._released,
            Expired: self._expired,
            Adjusted: self._adjusted,
            Configured: self._configured,
            Announced: self._announced,
            BadEvent: _refuse,
        }

    @property
    def end(self) -> Cursor:
        """The cursor once this plan is committed."""
        return Cursor(self.epoch, self.seq, self.stream_id)

    def undo(self) -> None:
        """Put the book back to where it was; the plan must not be used afterwards."""
        for known, on_hand, reserved, seq, at_ms in self.touched.values():
            known.on_hand, known.reserved, known.seq, known.at_ms = on_hand, reserved, seq, at_ms
        self._book.missing = self._missing_before

    def add(self, entry: JournalEntry | UnreadableEntry) -> None:
        """Add a whole entry. Raises JournalBroken, after which the plan may only be undone."""
        if isinstance(entry, UnreadableEntry):
            self._set_aside(self.seq + 1, entry.stream_id, entry.raw, entry.error)
        elif self._follows(entry):
            for index in range(max(0, self.seq + 1 - entry.first_seq), len(entry.events)):
                self._add_event(entry, index)
            self.archive.append(entry)
        self.stream_id = entry.stream_id

    def add_event(self, entry: JournalEntry, refused: str = "") -> bool:
        """Add only the next event of an entry, for going through one that Postgres refuses as a whole.

        `refused`: quarantine that event with this error. Gives False, and adds nothing, when none is left. The cursor's
        stream id moves with the last one, so that a restart in between reads the entry again.
        """
        if not self._follows(entry):
            self.stream_id = entry.stream_id
            return False
        index = max(0, self.seq + 1 - entry.first_seq)
        if refused:
            self._set_aside(entry.first_seq + index, entry.stream_id, _event_bytes(entry, index), refused)
            self.seq = entry.first_seq + index
        else:
            self._add_event(entry, index)
        if self.seq == entry.last_seq:
            self.stream_id = entry.stream_id
            self.archive.append(entry)
        return True

    def set_aside_stockless(self, seq: int, reservation_id: str, error: str) -> None:
        """Note that a reservation's row could not be changed, though the stock of the event is applied."""
        self.quarantine.append(
            Quarantined(seq, self.stream_id, "stock", reservation_id.encode(errors="replace"), error)
        )

    def _follows(self, entry: JournalEntry) -> bool:
        """True if the entry has events to apply. Raises JournalBroken for a gap or another epoch."""
        if entry.epoch < self.epoch:
            return False
        if entry.epoch > self.epoch:
            raise JournalBroken(
                f"journal entry {entry.stream_id} is of epoch {entry.epoch}, the ledger of {self.epoch}"
            )
        if entry.last_seq <= self.seq:
            return False
        expected = self.seq + 1
        if entry.first_seq == expected and self._book.missing.pop(expected, None) is not None:
            self.found_empty.append(expected)
        if entry.first_seq > expected and expected not in self._book.missing:
            raise JournalGap(
                f"gap in the journal: {expected} was expected, entry {entry.stream_id} begins at {entry.first_seq}"
            )
        return True

    def _add_event(self, entry: JournalEntry, index: int) -> None:
        seq = entry.first_seq + index
        if entry.at_ms != self._at_ms:
            self._at_ms = entry.at_ms
            self._at = postgres_time(entry.at_ms)
        self._text_was_cleaned = False
        event = entry.events[index]
        try:
            self._appliers[type(event)](seq, event)
        except BadEventError as error:
            self._set_aside(seq, entry.stream_id, _event_bytes(entry, index), str(error))
        else:
            if self._text_was_cleaned or index in entry.cleaned:
                why = entry.cleaned.get(index, "a text held NUL characters or was too long")
                raw = _event_bytes(entry, index) if index not in entry.cleaned else entry.raw
                self.quarantine.append(Quarantined(seq, entry.stream_id, "cleaned", raw, why))
        self.seq = seq
        self.events += 1

    def _set_aside(self, seq: int, stream_id: str, raw: bytes, error: str) -> None:
        self.quarantine.append(Quarantined(seq, stream_id, "nothing", raw, error))
        self._book.missing.setdefault(seq, 0)

    def _reserved(self, seq: int, event: Reserved) -> None:
        reservation_id = _checked_id(event.id)
        if reservation_id in self.reservations.opened:
            raise BadEventError("this reservation began already")
        lines = self._lines(event.lines)
        deadline_ms = _checked_ms(event.deadline_ms)
        try:
            details = _details(event.details)
        except (msgspec.MsgspecError, ValueError) as error:
            raise BadEventError(f"details: {error}") from error
        row = OpenedReservation(
            reservation_id,
            seq,
            _created_ms(reservation_id),
            deadline_ms,
            self._clean(event.owner),
            self._clean(details.customer_id),
            None if details.cart_id is None else self._clean(details.cart_id),
            self._clean(event.fingerprint),
            tuple([(known.sku, quantity) for known, quantity, _, _ in lines]),
        )
        self._hold(seq, lines)
        self.reservations.opened[reservation_id] = row

    def _amended(self, seq: int, event: Amended) -> None:
        reservation_id = _checked_id(event.id)
        lines = self._lines(event.lines)
        deadline_ms = _checked_ms(event.deadline_ms)
        self._hold(seq, lines)
        now_held = tuple((known.sku, quantity) for known, quantity, _, _ in lines)
        self.reservations.amend(reservation_id, seq, self._at_ms, deadline_ms, now_held)

    def _confirmed(self, seq: int, event: Confirmed) -> None:
        reservation_id = _checked_id(event.id)
        lines = self._lines(event.lines)
        order_id = self._clean(event.order_id)
        reference = _OUT_ORDER + text_field(order_id) if order_id else _OUT_RESERVATION + text_field(reservation_id)
        fields = reference + text_field(reservation_id) + self._actor(event.actor) + NULL
        self._move(seq, lines, -1, fields)
        self.reservations.end(reservation_id, seq, self._at_ms, "COMPLETED", order_id or None, event.late)

    def _released(self, seq: int, event: Released) -> None:
        reservation_id = _checked_id(event.id)
        self._hold(seq, self._lines(event.lines))
        self.reservations.end(reservation_id, seq, self._at_ms, "CANCELLED")

    def _expired(self, seq: int, event: Expired) -> None:
        reservation_id = _checked_id(event.id)
        self._hold(seq, self._lines(event.lines))
        self.reservations.end(reservation_id, seq, self._at_ms, "EXPIRED")

    def _adjusted(self, seq: int, event: Adjusted) -> None:
        if event.transaction_type not in _TYPES:
            raise BadEventError(f"transaction type {event.transaction_type[:40]!r}")
        fields = (
            text_field(event.transaction_type)
            + text_field(self._clean(event.reference_type))
            + text_field(self._clean(event.reference_id))
            + NULL
            + self._actor(event.actor)
            + text_field(self._clean(event.reason, MAX_REASON))
        )
        self._repair_id = event.reference_id if event.reference_type == "Reconciliation" else ""
        self._move(seq, self._lines(event.lines), 1, fields)
        self._repair_id = ""

    def _configured(self, seq: int, event: Configured) -> None:
        lines = self._lines(event.lines)
        if len(lines) != 1 or not (0 <= event.safety_stock <= _MOST and 0 <= event.low_stock_threshold <= _MOST):
            raise BadEventError("settings out of bounds")
        self._hold(seq, lines)
        self.settings[lines[0][0].sku] = event

    def _announced(self, _seq: int, event: Announced) -> None:
        self.announced.append(_checked_id(event.id)[:BASE_LENGTH])

    def _lines(self, text: str) -> list[Line]:
        """The lines of an event, bounds checked before anything of it is applied."""
        levels = self._book.levels
        lines = []
        try:
            for part in text.split(","):
                sku, a, b, c = part.split("=")
                quantity, on_hand, reserved = int(a), int(b), int(c)
                if not (-_MOST < quantity < _MOST and 0 <= on_hand < _MOST and 0 <= reserved < _MOST):
                    raise BadEventError(f"a number of line {part[:100]!r} is out of bounds")
                known = levels.get(sku)
                if known is None:
                    if not is_sku(sku):
                        raise BadEventError(f"not a SKU: {sku[:80]!r}")
                    known = self._book.meet(sku)
                lines.append((known, quantity, on_hand, reserved))
        except ValueError as error:
            raise BadEventError(f"lines: {error}") from error
        return lines

    def _hold(self, seq: int, lines: list[Line]) -> None:
        """Apply lines that move no stock: only reserved changes."""
        touched, at_ms = self.touched, self._at_ms
        for known, _, on_hand, reserved in lines:
            if known.on_hand != on_hand:
                self._rebase(seq, known, on_hand)
            if known.sku not in touched:
                touched[known.sku] = (known, known.on_hand, known.reserved, known.seq, known.at_ms)
            known.reserved = reserved
            known.seq = seq
            known.at_ms = at_ms

    def _move(self, seq: int, lines: list[Line], sign: int, fields: bytes) -> None:
        """Apply lines that change on_hand by `sign` times their quantity, a ledger row each."""
        touched, at_ms, at = self.touched, self._at_ms, self._at
        partition, epoch, add = self.partition, self.epoch, self.ledger.append
        for number, (known, quantity, on_hand, reserved) in enumerate(lines):
            change = sign * quantity
            before = on_hand - change
            if known.on_hand != before:
                self._rebase(seq, known, before)
            if known.sku not in touched:
                touched[known.sku] = (known, known.on_hand, known.reserved, known.seq, known.at_ms)
            add(ledger_row(partition, epoch, seq, number, change, before, on_hand, at, known.sku_field, fields))
            known.on_hand = on_hand
            known.reserved = reserved
            known.seq = seq
            known.at_ms = at_ms

    def _rebase(self, seq: int, known: KnownLevel, on_hand: int) -> None:
        """Make up for a missing event or an authorised break, or raise JournalBroken when nothing explains it."""
        missing = self._book.missing_between(known.seq, seq)
        if missing is not None:
            line = self._book.missing[missing]
            self._book.missing[missing] = line + 1
            fields = _REBASED + text_field(f"{self.epoch}:{missing}") + _REBASED_WHY
            return self._set_level(missing, line, known, on_hand, fields)
        correction = self._correction(seq, known.sku, on_hand - known.on_hand)
        if correction is None:
            raise JournalBroken(
                f"continuity of {known.sku} broken at {seq}: its on_hand was {known.on_hand} at {known.seq}, "
                f"the journal says {on_hand}"
            )
        self.corrected.append((correction, seq))
        why = NULL + text_field(correction.created_by) + text_field(correction.reason)
        fields = _CORRECTED + text_field(correction.repair_id) + why
        # The event's own lines count from 0: this row must come before them, and before none of another event.
        return self._set_level(seq, -len(self.corrected), known, on_hand, fields)

    def _correction(self, seq: int, sku: str, difference: int) -> Correction | None:
        used = {correction.id for correction, _ in self.corrected}
        for correction in self._book.corrections(sku):
            proven = correction.done or correction.repair_id == self._repair_id
            fits = correction.difference == difference and correction.after_seq < seq
            if proven and fits and correction.id not in used:
                return correction
        return None

    def _set_level(self, seq: int, line: int, known: KnownLevel, on_hand: int, fields: bytes) -> None:
        """A ledger row that no event has, so that the next one begins where it says."""
        if known.sku not in self.touched:
            self.touched[known.sku] = (known, known.on_hand, known.reserved, known.seq, known.at_ms)
        change, before = on_hand - known.on_hand, known.on_hand
        self.ledger.append(
            ledger_row(
                self.partition, self.epoch, seq, line, change, before, on_hand, self._at, known.sku_field, fields
            )
        )
        known.on_hand = on_hand

    def _actor(self, actor: str) -> bytes:
        field = self._actors.get(actor)
        if field is None:
            field = text_field(self._clean(actor))
            if not self._text_was_cleaned:
                self._actors[actor] = field
        return field

    def _clean(self, text: str, most: int = MAX_NAME) -> str:
        """`text` as Postgres can hold and index it; what had to be changed is noted."""
        if len(text) <= most and "\0" not in text:
            return text
        self._text_was_cleaned = True
        return text[:most].replace("\0", "\N{REPLACEMENT CHARACTER}")


def _refuse(_seq: int, event: BadEvent) -> None:
    raise BadEventError(event.error)


def _event_bytes(entry: JournalEntry, index: int) -> bytes:
    event = entry.events[index]
    return event.raw if isinstance(event, BadEvent) else msgspec.msgpack.encode(event)


def _checked_id(text: str) -> str:
    """The id, if it can be one. Cheaper than the full rule: what matters is that it fits and needs no quoting."""
    if len(text) != ID_LENGTH or not text.isalnum() or not text.isascii():
        raise BadEventError(f"not a reservation id: {text[:80]!r}")
    return text


def _created_ms(reservation_id: str) -> int:
    try:
        return _checked_ms(int(reservation_id[BASE_LENGTH:], 16))
    except ValueError as error:
        raise BadEventError(f"not a reservation id: {reservation_id}") from error


def _checked_ms(unix_ms: int) -> int:
    if not FIRST_MS <= unix_ms <= LAST_MS:
        raise BadEventError(f"time out of bounds: {unix_ms}")
    return unix_ms
