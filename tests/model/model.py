"""What Holdfast promises, in plain Python: one dict of SKUs, one of reservations, one verb after the other.

Written from the design, not from the Lua: no batches, no journal, no expiry set. Slow and obvious on purpose; when it
and the engine disagree, one of them is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

Lines = tuple[tuple[str, int], ...]


@dataclass
class Sku:
    on_hand: int = 0
    reserved: int = 0
    safety: int = 0
    threshold: int = 0
    active: bool = True

    @property
    def available(self) -> int:
        return max(0, self.on_hand - self.reserved - self.safety)


@dataclass
class Hold:
    base: str
    created_ms: int
    deadline_ms: int
    updated_ms: int
    owner: str
    fingerprint: str
    lines: Lines
    status: str = "ACTIVE"
    order_id: str = ""

    @property
    def id(self) -> str:
        return f"{self.base}{self.created_ms:012x}"

    @property
    def member(self) -> str:
        return self.id + " " + ",".join(f"{sku}={quantity}" for sku, quantity in self.lines)


@dataclass(frozen=True)
class Seen:
    """A reservation as an answer shows it."""

    id: str
    status: str
    owner: str
    order_id: str | None
    lines: Lines
    created_ms: int
    updated_ms: int
    deadline_ms: int


@dataclass(frozen=True)
class Outcome:
    """An answer, with everything in it that can be said before it is asked."""

    status: str
    reservations: tuple[Seen, ...] = ()
    shortages: tuple[tuple[str, int, int], ...] = ()
    skus: tuple[str, ...] = ()
    levels: tuple[tuple[Any, ...], ...] = ()
    movements: tuple[tuple[str, int, int, int], ...] = ()
    created: bool = False
    units_moved: int = 0


def seen(hold: Hold) -> Seen:
    return Seen(
        hold.id,
        hold.status,
        hold.owner,
        hold.order_id or None,
        hold.lines,
        hold.created_ms,
        hold.updated_ms,
        hold.deadline_ms,
    )


@dataclass
class Model:
    clock_ms: int
    skus: dict[str, Sku] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    adjustments: dict[str, tuple[str, Outcome]] = field(default_factory=dict)
    last_now_ms: int = 0
    """Of the last command that changed anything: time never goes back behind it."""

    @property
    def now_ms(self) -> int:
        return max(self.clock_ms, self.last_now_ms)

    def active(self) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.status == "ACTIVE"]

    def due(self) -> list[Hold]:
        return [hold for hold in self.active() if hold.deadline_ms <= self.now_ms]

    # -- verbs

    def configure(self, sku: str, safety: int, threshold: int, active: bool, initial: int, keeps: str = "") -> Outcome:
        created = sku not in self.skus
        level = self.skus.setdefault(sku, Sku(on_hand=initial))
        for letter, name, value in (("s", "safety", safety), ("t", "threshold", threshold), ("a", "active", active)):
            if created or letter not in keeps:
                setattr(level, name, value)
        self._changed()
        return Outcome("ok", created=created)

    def reserve(self, base: str, lines: Lines, ttl_ms: int, partial: bool, owner: str, fingerprint: str) -> Outcome:
        if base in self.holds:
            first = self.holds[base]
            if not fingerprint or first.fingerprint != fingerprint:
                return Outcome("key_reused")
            return Outcome("replayed", (seen(first),))
        refusal = self._refusal([sku for sku, _ in lines])
        if refusal:
            return refusal
        short = self._short(lines)
        if short and self.due():
            self.sweep()
            short = self._short(lines)
        granted = lines
        if short:
            free = {sku: available for sku, _, available in short}
            granted = tuple((sku, free.get(sku, asked)) for sku, asked in lines if free.get(sku, asked))
            if not partial or not granted:
                return Outcome("insufficient_stock", shortages=short)
        now = self.now_ms
        hold = Hold(base, now, now + ttl_ms, now, owner, fingerprint, granted)
        self.holds[base] = hold
        self._hold(granted, 1)
        return Outcome("ok", (seen(hold),), shortages=short)

    def amend(self, base: str, created_ms: int, lines: Lines, ttl_ms: int, owner: str) -> Outcome:
        hold = self._find(base, created_ms, owner)
        if hold is None:
            return Outcome("unknown_reservation")
        if hold.status != "ACTIVE":
            return Outcome("expired" if hold.status == "EXPIRED" else "not_active", (seen(hold),))
        wanted, had = lines or hold.lines, dict(hold.lines)
        refusal = self._refusal([sku for sku, quantity in wanted if quantity > had.get(sku, 0)])
        if refusal:
            return refusal
        short = self._short(wanted, had)
        if short and self.due():
            self.sweep()
            short = self._short(wanted, had)
        if short:
            return Outcome("insufficient_stock", shortages=short)
        self._hold(hold.lines, -1)
        self._hold(wanted, 1)
        hold.lines, hold.updated_ms = wanted, self.now_ms
        if ttl_ms:
            hold.deadline_ms = self.now_ms + ttl_ms
        return Outcome("ok", (seen(hold),))

    def confirm(self, named: tuple[tuple[str, int], ...], order_id: str, owner: str, late: bool) -> Outcome:
        holds = []
        for base, created_ms in named:
            hold = self._find(base, created_ms, owner)
            if hold is None:
                return Outcome("unknown_reservation")
            holds.append(hold)
        for hold in holds:
            sold_elsewhere = hold.status == "COMPLETED" and order_id not in {"", hold.order_id}
            if hold.status == "EXPIRED" and not late:
                return Outcome("expired", (seen(hold),))
            if hold.status == "CANCELLED" or sold_elsewhere:
                return Outcome("not_active", (seen(hold),))
        expired = [hold for hold in holds if hold.status == "EXPIRED"]
        if not self._fits(expired) and self.due():
            self.sweep()
        if not self._fits(expired):
            return Outcome("expired", (seen(expired[0]),))
        to_sell = [hold for hold in holds if hold.status != "COMPLETED"]
        for hold in to_sell:
            if hold.status == "ACTIVE":
                self._hold(hold.lines, -1)
            for sku, quantity in hold.lines:
                self.skus[sku].on_hand -= quantity
            hold.status, hold.order_id, hold.updated_ms = "COMPLETED", order_id, self.now_ms
            self._changed()
        return Outcome("ok" if to_sell else "replayed", tuple(seen(hold) for hold in holds))

    def release(self, base: str, created_ms: int, owner: str) -> Outcome:
        hold = self._find(base, created_ms, owner)
        if hold is None:
            return Outcome("unknown_reservation")
        if hold.status != "ACTIVE":
            status = {"EXPIRED": "expired", "COMPLETED": "not_active", "CANCELLED": "replayed"}[hold.status]
            return Outcome(status, (seen(hold),))
        self._end(hold, "CANCELLED")
        return Outcome("ok", (seen(hold),))

    def expire(self, hold: Hold) -> Outcome:
        if hold.status != "ACTIVE":
            return Outcome("not_active")
        if hold.deadline_ms > self.now_ms:
            return Outcome("not_due")
        self._end(hold, "EXPIRED")
        return Outcome("ok")

    def read(self, base: str, created_ms: int, owner: str) -> Outcome:
        hold = self._find(base, created_ms, owner)
        return Outcome("unknown_reservation") if hold is None else Outcome("ok", (seen(hold),))

    def availability(self, skus: tuple[str, ...]) -> Outcome:
        unknown = tuple(sku for sku in skus if sku not in self.skus)
        if unknown:
            return Outcome("unknown_sku", skus=unknown)
        self.sweep()
        found = [(sku, self.skus[sku]) for sku in skus]
        return Outcome(
            "ok", levels=tuple((s, x.on_hand, x.reserved, x.safety, x.threshold, x.active) for s, x in found)
        )

    def adjust(
        self,
        base: str,
        lines: tuple[tuple[str, str, int], ...],
        fingerprint: str,
        max_change: int = 0,
        expected: tuple[int, ...] = (),
    ) -> Outcome:
        if base in self.adjustments:
            print_, first = self.adjustments[base]
            return replace(first, status="replayed") if print_ == fingerprint else Outcome("key_reused")
        unknown = tuple(sku for sku, _, _ in lines if sku not in self.skus)
        if unknown:
            return Outcome("unknown_sku", skus=unknown)
        moved = tuple(
            sku
            for (sku, _, _), number in zip(lines, expected, strict=bool(expected))
            if number >= 0 and self.skus[sku].on_hand != number
        )
        if moved:
            return Outcome("stock_moved", skus=moved)
        short = self._too_much(lines)
        if short and self.due():
            self.sweep()
            short = self._too_much(lines)
        if short:
            return Outcome("insufficient_stock", shortages=short)
        units = sum(abs(self._change(*line)) for line in lines)
        if max_change and units > max_change:
            return Outcome("change_too_large", units_moved=units)
        movements = []
        for sku, operation, units in lines:
            level = self.skus[sku]
            change = self._change(sku, operation, units)
            level.on_hand += change
            movements.append((sku, change, level.on_hand, level.reserved))
        self._changed()
        outcome = Outcome("ok", movements=tuple(movements))
        if fingerprint:
            self.adjustments[base] = (fingerprint, outcome)
        return outcome

    def sweep(self) -> None:
        for hold in self.due():
            self._end(hold, "EXPIRED")

    # -- parts

    def _changed(self) -> None:
        self.last_now_ms = self.now_ms

    def _hold(self, lines: Lines, sign: int) -> None:
        for sku, quantity in lines:
            self.skus[sku].reserved += sign * quantity
        self._changed()

    def _end(self, hold: Hold, status: str) -> None:
        self._hold(hold.lines, -1)
        hold.status, hold.updated_ms = status, self.now_ms

    def _find(self, base: str, created_ms: int, owner: str) -> Hold | None:
        hold = self.holds.get(base)
        if hold is None or hold.created_ms != created_ms or (owner and owner != hold.owner):
            return None
        if hold.status == "ACTIVE" and hold.deadline_ms <= self.now_ms:
            self._end(hold, "EXPIRED")
        return hold

    def _refusal(self, skus: list[str]) -> Outcome | None:
        unknown = tuple(sku for sku in skus if sku not in self.skus)
        inactive = tuple(sku for sku in skus if sku in self.skus and not self.skus[sku].active)
        if unknown:
            return Outcome("unknown_sku", skus=unknown)
        return Outcome("product_inactive", skus=inactive) if inactive else None

    def _short(self, lines: Lines, had: dict[str, int] | None = None) -> tuple[tuple[str, int, int], ...]:
        own = had or {}
        free = [(sku, asked, self.skus[sku].available + own.get(sku, 0)) for sku, asked in lines]
        # More than it has must be there; as much or less is always there, whatever became of the safety stock.
        return tuple(one for one in free if one[1] > one[2] and one[1] > own.get(one[0], 0))

    def _fits(self, holds: list[Hold]) -> bool:
        need: dict[str, int] = {}
        for hold in holds:
            for sku, quantity in hold.lines:
                need[sku] = need.get(sku, 0) + quantity
        return all(quantity <= self.skus[sku].available for sku, quantity in need.items())

    def _change(self, sku: str, operation: str, units: int) -> int:
        return {"add": units, "remove": -units, "set": units - self.skus[sku].on_hand}[operation]

    def _too_much(self, lines: tuple[tuple[str, str, int], ...]) -> tuple[tuple[str, int, int], ...]:
        short = []
        for sku, operation, units in lines:
            level = self.skus[sku]
            taken, free = -self._change(sku, operation, units), level.on_hand - level.reserved
            if taken > free:
                short.append((sku, taken, free))
        return tuple(short)
