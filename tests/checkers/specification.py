"""What a shop of a few SKUs may answer, one operation after the other: counters, holds, and steps that can be undone.

Owns the sequential rules that a history is held against; never looks at the order in which things were sent
(linearizability.py does). Written from the design, apart from tests/model, so that the two can be held against each
other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from tests.checkers.history import Answer, Call, Lines, Stock

Undo = list[tuple[Any, Any]]


class Hold(NamedTuple):
    """A reservation. `asked` is the request that made it; `deadline_by` the operation that set its deadline."""

    state: str
    lines: Lines
    first_lines: Lines
    asked: tuple[Lines, int, bool]
    deadline_by: int
    order_id: str = ""
    seen_expired: bool = False


class Level(NamedTuple):
    on_hand: int
    reserved: int


class Deadline(Struct, frozen=True):
    """The passing of a deadline: nobody sends it, and it ends the hold if that deadline is still the hold's."""

    base: str
    set_by: int


class Told(NamedTuple):
    """What the rules say to an operation. None: nothing is said about it, so nothing is compared."""

    status: str
    state: str | None = None
    held: Lines | None = None
    short: Lines | None = None
    available: Lines | None = None
    levels: tuple[tuple[str, int, int], ...] | None = None
    swept: bool = True
    """False if holds past their deadline may still be in the `reserved` of `levels`."""


class Shop:
    """The state. `digest` is a number of 64 bits that two equal states share."""

    def __init__(self, stock: tuple[Stock, ...]) -> None:
        self.cells: dict[Any, Any] = {one.sku: Level(one.on_hand, 0) for one in stock}
        """SKU -> Level; ("hold", base) -> Hold; ("adjust", base) -> what was asked and told."""
        self.safety = {one.sku: one.safety for one in stock}
        self.digest = 0
        self._log: Undo = []

    def step(self, call: Call | Deadline, answer: Answer | None, number: int = 0) -> Undo | None:
        """Apply one operation. None, and nothing changed, when the rules would not give that answer.

        Without an answer whatever the rules say is right. Else gives what `undo` takes; empty when nothing changed.
        """
        self._log = []
        if isinstance(call, Deadline):
            self._deadline(call)
        else:
            told = getattr(self, "_" + call.verb)(call, number, answer)
            if answer is not None and not agrees(told, answer):
                self.undo(self._log)
                return None
        return self._log

    def undo(self, log: Undo) -> None:
        """Take back what a step did; only the latest step that was not yet taken back."""
        for key, old in reversed(log):
            self._toggle(key, self.cells.get(key))
            self._toggle(key, old)
            if old is None:
                del self.cells[key]
            else:
                self.cells[key] = old

    def can_never_matter(self, call: Call | Deadline) -> bool:
        """True when no later state exists in which this operation would change anything."""
        if isinstance(call, Call) and call.verb == "adjust":
            return ("adjust", call.base) in self.cells
        hold = self.cells.get(("hold", call.base))
        if hold is None:
            return False
        return hold.state != "ACTIVE" or (isinstance(call, Call) and call.verb == "reserve")

    # -- the verbs: each changes the state and tells the answer

    def _reserve(self, call: Call, number: int, answer: Answer | None) -> Told:
        hold = self.cells.get(("hold", call.base))
        asked = (call.lines, call.ttl_ms, call.partial)
        if hold is not None:
            if hold.asked != asked:
                return Told("key_reused")
            if answer is not None and not answer.state:
                return Told("replayed", None, hold.first_lines)
            return Told("replayed", hold.state, hold.lines)
        free = {sku: self._available(sku) for sku, _ in call.lines}
        short = tuple((sku, free[sku]) for sku, units in call.lines if units > free[sku])
        granted = tuple((sku, min(units, free[sku])) for sku, units in call.lines if free[sku])
        if short and not (call.partial and granted):
            return Told("insufficient_stock", short=short)
        self._move(granted, 0, 1)
        self._put(("hold", call.base), Hold("ACTIVE", granted, granted, asked, number))
        return Told("ok", "ACTIVE", granted, short)

    def _amend(self, call: Call, number: int, answer: Answer | None) -> Told:
        hold = self.cells.get(("hold", call.base))
        if hold is None:
            return Told("unknown_reservation")
        if hold.state != "ACTIVE":
            return self._ended(call.base, hold)
        had, wanted = dict(hold.lines), call.lines or hold.lines
        short = tuple(
            (sku, self._available(sku) + had.get(sku, 0))
            for sku, units in wanted
            if units > had.get(sku, 0) and units > self._available(sku) + had.get(sku, 0)
        )
        if short:
            return Told("insufficient_stock", short=short)
        self._move(hold.lines, 0, -1)
        self._move(wanted, 0, 1)
        by = number if call.ttl_ms else hold.deadline_by
        self._put(("hold", call.base), hold._replace(lines=wanted, deadline_by=by))
        return Told("ok", "ACTIVE", wanted)

    def _confirm(self, call: Call, number: int, answer: Answer | None) -> Told:
        hold = self.cells.get(("hold", call.base))
        if hold is None:
            return Told("unknown_reservation")
        if hold.state == "COMPLETED" and call.order_id in {"", hold.order_id}:
            return Told("replayed", hold.state, hold.lines)
        if hold.state != "ACTIVE":
            return self._ended(call.base, hold)
        self._move(hold.lines, -1, -1)
        self._put(("hold", call.base), hold._replace(state="COMPLETED", order_id=call.order_id))
        return Told("ok", "COMPLETED", hold.lines)

    def _release(self, call: Call, number: int, answer: Answer | None) -> Told:
        hold = self.cells.get(("hold", call.base))
        if hold is None:
            return Told("unknown_reservation")
        if hold.state == "CANCELLED":
            return Told("replayed", hold.state, hold.lines)
        if hold.state != "ACTIVE":
            return self._ended(call.base, hold)
        self._move(hold.lines, 0, -1)
        self._put(("hold", call.base), hold._replace(state="CANCELLED"))
        return Told("ok", "CANCELLED", hold.lines)

    def _expire(self, call: Call, number: int, answer: Answer | None) -> Told:
        """The deadline ended the hold by itself. Who is told `ok` was the first to see it, so that is told once."""
        hold = self.cells.get(("hold", call.base))
        if hold is None:
            return Told("unknown_reservation")
        if hold.state == "ACTIVE":
            return Told("not_due")
        # What another SKU's shortage swept is not seen here, so `not_active` may be told to the first one as well.
        first = hold.state == "EXPIRED" and not hold.seen_expired and answer is not None and answer.status == "ok"
        if hold.state == "EXPIRED" and not hold.seen_expired:
            self._put(("hold", call.base), hold._replace(seen_expired=True))
        return Told("ok" if first else "not_active")

    def _adjust(self, call: Call, number: int, answer: Answer | None) -> Told:
        key = ("adjust", call.base)
        asked = (call.operation, call.lines)
        done = self.cells.get(key)
        if done is not None:
            return Told("replayed", levels=done[1], swept=False) if done[0] == asked else Told("key_reused")
        changes, short = [], []
        for sku, units in call.lines:
            level = self.cells[sku]
            change = {"add": units, "remove": -units, "set": units - level.on_hand}[call.operation]
            changes.append((sku, change))
            if -change > level.on_hand - level.reserved:
                short.append((sku, level.on_hand - level.reserved))
        if short:
            return Told("insufficient_stock", short=tuple(short))
        self._move(tuple(changes), 1, 0)
        levels = tuple((sku, *self.cells[sku]) for sku, _ in changes)
        self._put(key, (asked, levels))
        return Told("ok", levels=levels, swept=False)

    def _read(self, call: Call, number: int, answer: Answer | None) -> Told:
        hold = self.cells.get(("hold", call.base))
        if hold is None:
            return Told("unknown_reservation")
        if hold.state == "EXPIRED":
            self._ended(call.base, hold)
        return Told("ok", hold.state, hold.lines)

    def _availability(self, call: Call, number: int, answer: Answer | None) -> Told:
        skus = [sku for sku, _ in call.lines]
        return Told(
            "ok",
            available=tuple((sku, self._available(sku)) for sku in skus),
            levels=tuple((sku, *self.cells[sku]) for sku in skus),
        )

    def _deadline(self, deadline: Deadline) -> None:
        hold = self.cells.get(("hold", deadline.base))
        if hold is not None and hold.state == "ACTIVE" and hold.deadline_by == deadline.set_by:
            self._move(hold.lines, 0, -1)
            self._put(("hold", deadline.base), hold._replace(state="EXPIRED"))

    # -- parts

    def _ended(self, base: str, hold: Hold) -> Told:
        if hold.state == "EXPIRED" and not hold.seen_expired:
            self._put(("hold", base), hold._replace(seen_expired=True))
        return Told("expired" if hold.state == "EXPIRED" else "not_active", hold.state, hold.lines)

    def _available(self, sku: str) -> int:
        level = self.cells[sku]
        return max(0, level.on_hand - level.reserved - self.safety[sku])

    def _move(self, lines: Lines, on_hand_sign: int, reserved_sign: int) -> None:
        for sku, units in lines:
            level = self.cells[sku]
            self._put(sku, Level(level.on_hand + on_hand_sign * units, level.reserved + reserved_sign * units))

    def _put(self, key: Any, value: Any) -> None:
        old = self.cells.get(key)
        self._log.append((key, old))
        self._toggle(key, old)
        self._toggle(key, value)
        self.cells[key] = value

    def _toggle(self, key: Any, value: Any) -> None:
        if value is not None:
            self.digest ^= hash((key, value))


def agrees(told: Told, answer: Answer) -> bool:
    """True if an answer says nothing else than the rules do."""
    if told.status != answer.status:
        return False
    pairs = (
        (told.state, answer.state or None),
        (told.held, answer.held),
        (told.short, answer.short),
        (told.available, answer.available),
    )
    if not all(said is None or seen is None or said == seen for said, seen in pairs):
        return False
    if told.levels is None or answer.levels is None:
        return True
    if told.swept:
        return told.levels == answer.levels
    # What is due and not yet swept still counts as reserved there, though nobody can sell it.
    return len(told.levels) == len(answer.levels) and all(
        said[:2] == seen[:2] and said[2] <= seen[2] for said, seen in zip(told.levels, answer.levels, strict=True)
    )
