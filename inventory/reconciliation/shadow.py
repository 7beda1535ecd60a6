"""What the store must say at a given event: the ledger at its cursor, moved along by the journal's own quantities.

Owns that expectation; never reads Redis or Postgres (reading.py does).

Quantities, not the balances that stand beside them in the journal: a counter that was changed from outside carries its
drift into every later balance, so that balances would agree with it, while the sum of what was received and sold does
not. That makes a drift the same number at every later event, however much the SKU moves meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from msgspec import Struct

from engine.commands import parse_lines
from engine.events import Adjusted, Amended, Announced, Configured, Confirmed, Event, Line, Reserved, event_lines
from persistence.journal_entries import BadEvent, JournalEntry


class ShadowHold(Struct, frozen=True, gc=False):
    """A live hold as it must be."""

    lines: str
    """`SKU=2,SKU2=1`, sorted."""
    deadline_ms: int


class Break(Struct, frozen=True):
    """The journal's balance of a SKU stopped following from the one before: here a drift came into the journal."""

    seq: int
    difference: int
    """Units by which on_hand was too high from then on."""


NO_BREAKS: Final[tuple[Break, ...]] = ()


class Shadow:
    """The expected state of one partition after event `seq`."""

    def __init__(self, epoch: int, seq: int) -> None:
        self.epoch = epoch
        self.seq = seq
        self.on_hand: dict[str, int] = {}
        """As the ledger will have it."""
        self.reserved: defaultdict[str, int] = defaultdict(int)
        """Sum of the live holds' lines."""
        self.holds: dict[str, ShadowHold] = {}
        self.allowed: defaultdict[str, int] = defaultdict(int)
        """SKU -> units of a repair that is under way: the counter is still, or the ledger not yet, ahead by them."""
        self.breaks: dict[str, tuple[Break, ...]] = {}
        self.repairs: dict[str, int] = {}
        """Repairs that were met in the journal: id -> sequence number."""
        self.bad_events = 0
        """Events that could not be read; what they did is not in here."""
        self._carried: defaultdict[str, int] = defaultdict(int)

    def expected_on_hand(self, sku: str) -> int | None:
        """What the counter must say; None for a SKU that must not be there."""
        on_hand = self.on_hand.get(sku)
        return None if on_hand is None else on_hand + self.allowed.get(sku, 0)

    def hold(self, reservation_id: str, lines: tuple[tuple[str, int], ...], deadline_ms: int) -> None:
        """A hold is live with these lines, whatever it was before."""
        self.end(reservation_id)
        for sku, quantity in lines:
            self.reserved[sku] += quantity
        self.holds[reservation_id] = ShadowHold(sorted_lines(lines), deadline_ms)

    def end(self, reservation_id: str) -> None:
        """A hold is no longer live, if it was."""
        held = self.holds.pop(reservation_id, None)
        if held is not None:
            for sku, quantity in parse_lines(held.lines):
                self.reserved[sku] -= quantity

    def apply(self, entry: JournalEntry) -> None:
        """Move along by the events of an entry that come next; those that were passed already are left out."""
        for index in range(max(0, self.seq + 1 - entry.first_seq), len(entry.events)):
            self.seq = entry.first_seq + index
            self._apply(entry.events[index])

    def _apply(self, event: Event | BadEvent) -> None:
        if isinstance(event, BadEvent):
            self.bad_events += 1
            return
        if isinstance(event, Announced):
            return
        try:
            lines = event_lines(event.lines)
        except ValueError:
            # The flusher sets it aside when it comes to it.
            self.bad_events += 1
            return
        if isinstance(event, Adjusted) and event.reference_type == "Reconciliation":
            self.repairs[event.reference_id] = self.seq
        sign = 1 if isinstance(event, Adjusted) else -1 if isinstance(event, Confirmed) else 0
        for line in lines:
            self._move(line, sign * line.quantity)
        if isinstance(event, Adjusted | Configured):
            return
        if isinstance(event, Reserved | Amended):
            held = tuple((line.sku, line.quantity) for line in lines if line.quantity)
            self.hold(event.id, held, event.deadline_ms)
        else:
            self.end(event.id)

    def _move(self, line: Line, change: int) -> None:
        sku = line.sku
        on_hand = self.on_hand.get(sku, 0) + change
        self.on_hand[sku] = on_hand
        carried = line.on_hand - on_hand
        difference = carried - self._carried.get(sku, 0)
        if difference:
            self._carried[sku] = carried
            self.breaks[sku] = (*self.breaks.get(sku, NO_BREAKS), Break(self.seq, difference))


def sorted_lines(lines: tuple[tuple[str, int], ...]) -> str:
    """Lines as text that is the same in whatever order they came."""
    return ",".join(sorted([f"{sku}={quantity}" for sku, quantity in lines]))


def sorted_text(text: str) -> str:
    """The same from the text of a record or deadline."""
    return text if "," not in text else ",".join(sorted(text.split(",")))
