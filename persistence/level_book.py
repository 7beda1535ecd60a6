"""What the flusher knows of every SKU at its cursor: the levels that continuity is checked against, and which journal
events are known to be missing. Never writes; ledger_writer.py loads it and flush_plan.py moves it along.

The picture stays true without asking Postgres again, because only the holder of the cursor writes levels: a flush that
finds the cursor moved fails, and the book is loaded anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from persistence.copy_rows import text_field


class KnownLevel:
    """One SKU's counters as of `seq`. Mutable on purpose: the flusher moves millions of them a minute."""

    __slots__ = ("at_ms", "on_hand", "reserved", "seq", "sku", "sku_field")

    def __init__(self, sku: str, on_hand: int = 0, reserved: int = 0, seq: int = 0, at_ms: int = 0) -> None:
        self.sku = sku
        self.sku_field = text_field(sku)
        self.on_hand = on_hand
        self.reserved = reserved
        self.seq = seq
        """Of the last event that changed it in the current epoch; 0 when there was none."""
        self.at_ms = at_ms


class Correction(Struct, frozen=True):
    """A break of one SKU's on_hand that a repair has on record: taken over once, at an event after `after_seq`."""

    id: int
    difference: int
    after_seq: int
    repair_id: str
    reason: str
    created_by: str
    done: bool
    """The repair that takes it back is known to be in the journal. Before that only the repair's own event proves it:
    a break whose repair may still be refused must not become the ledger's truth."""


class LevelBook:
    """Levels by SKU, and the missing events of this epoch."""

    def __init__(
        self,
        look_up: Callable[[str], KnownLevel | None],
        levels: dict[str, KnownLevel] | None = None,
        corrections: Callable[[str], Sequence[Correction]] = lambda sku: (),
    ) -> None:
        self._look_up = look_up
        self.corrections = corrections
        """The open corrections of a SKU, asked for only when one is needed."""
        self.levels = levels if levels is not None else {}
        self.missing: dict[int, int] = {}
        """Sequence number of an event whose effect on stock is unknown -> ledger rows written in its place."""

    def meet(self, sku: str) -> KnownLevel:
        """The level of a SKU that is not in `levels` yet: from Postgres, or a fresh one of 0."""
        known = self._look_up(sku) or KnownLevel(sku)
        self.levels[sku] = known
        return known

    def missing_between(self, after_seq: int, before_seq: int) -> int | None:
        """The last missing event after one sequence number and before another."""
        return max((seq for seq in self.missing if after_seq < seq < before_seq), default=None)
