"""The journal played again: counters and holds made from nothing but events, checked at every one of them.

Owns invariants 1, 4 and 5 as the journal shows them; never looks at the counters in Redis.
"""

from __future__ import annotations

from engine.events import (
    Adjusted,
    Amended,
    Announced,
    Configured,
    Confirmed,
    Entry,
    Event,
    Expired,
    Line,
    Released,
    Reserved,
    event_lines,
)


class JournalReplay:
    """Feed it entries in order; it raises AssertionError at the first event that cannot be."""

    def __init__(self) -> None:
        self.counters: dict[str, tuple[int, int]] = {}
        """SKU -> (on_hand, reserved)."""
        self.active: dict[str, dict[str, int]] = {}
        """Reservation id -> SKU -> units held."""
        self.ended: set[str] = set()
        self.next_seq = 1
        self.last_ms = 0

    def feed(self, entry: Entry) -> None:
        assert entry.first_seq == self.next_seq, f"event {self.next_seq} is missing, {entry.first_seq} came"
        assert entry.events, "an entry without an event"
        assert entry.at_ms >= self.last_ms, "the clock went back"
        self.next_seq, self.last_ms = entry.last_seq + 1, entry.at_ms
        for event in entry.events:
            self._apply(event)

    def _apply(self, event: Event) -> None:
        if isinstance(event, Announced):
            return
        lines = event_lines(event.lines)
        match event:
            case Configured():
                if event.created:
                    assert lines[0].sku not in self.counters
                    self.counters[lines[0].sku] = (0, 0)
                self._move(lines, 0, 0)
            case Adjusted():
                self._move(lines, 1, 0)
            case Reserved():
                assert event.id not in self.active, "an id began twice"
                assert event.id not in self.ended, "an ended id began again"
                self.active[event.id] = {line.sku: line.quantity for line in lines}
                self._move(lines, 0, 1)
            case Amended():
                self._amend(event, lines)
            case Confirmed(late=True):
                assert event.id in self.ended, "a late sale of a hold that had not ended"
                self._move(lines, -1, 0)
            case Confirmed():
                self._end(event.id, lines)
                self._move(lines, -1, -1)
            case Released() | Expired():
                self._end(event.id, lines)
                self._move(lines, 0, -1)

    def _amend(self, event: Amended, lines: list[Line]) -> None:
        old = self.active[event.id]
        assert set(old) <= {line.sku for line in lines}, "an amend must name every SKU, old and new"
        self.active[event.id] = {line.sku: line.quantity for line in lines if line.quantity}
        for line in lines:
            on_hand, reserved = self.counters[line.sku]
            self._set(line, on_hand, reserved + line.quantity - old.get(line.sku, 0))

    def _end(self, reservation_id: str, lines: list[Line]) -> None:
        assert reservation_id not in self.ended, f"{reservation_id} ended twice"
        assert self.active.pop(reservation_id) == {line.sku: line.quantity for line in lines}
        self.ended.add(reservation_id)

    def _move(self, lines: list[Line], on_hand_sign: int, reserved_sign: int) -> None:
        for line in lines:
            on_hand, reserved = self.counters[line.sku]
            self._set(line, on_hand + on_hand_sign * line.quantity, reserved + reserved_sign * line.quantity)

    def _set(self, line: Line, on_hand: int, reserved: int) -> None:
        assert (on_hand, reserved) == (line.on_hand, line.reserved), (
            f"balances of {line} should be {on_hand}, {reserved}"
        )
        assert 0 <= reserved <= on_hand, f"{line.sku}: reserved {reserved} of {on_hand} on hand"
        self.counters[line.sku] = (on_hand, reserved)
