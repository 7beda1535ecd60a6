"""What a rebuild writes back: the counters, the holds, and what repeated requests must still meet.

Owns what a ledger row becomes in Redis; never fences, decides or opens (worker/recovery.py).

Holds come with their deadline as it was, so those that fell due meanwhile are swept at once. Records of keyed requests
come back for the rest of their idempotency window: reservations with their fingerprint; stock changes, of which the
journal keeps the change but not the request, with the fingerprint `*` that matches any.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from engine.commands import parse_lines
from engine.events import Adjusted, Reserved, event_lines
from engine.fenced import FencedPartition, Restored
from engine.identity import BASE_LENGTH, is_reservation_id, split_id
from engine.results import Details, Record
from persistence.recovery_ledger import LedgerSnapshot, ReservationRow
from worker.failpoints import Hook

CHUNK: Final = 1_000

Report = Callable[[int, int], None]
"""Called with what is done and what there is, in items."""

_pack = msgspec.msgpack.encode
_json = msgspec.json.encode
ANY_REQUEST: Final = "*"


class _First(Struct, frozen=True):
    """A keyed reservation as it was made."""

    lines: str
    details: str


class Restoring:
    """One rebuild's load. Times in ms; `now_ms`: the server's clock."""

    def __init__(  # noqa: PLR0917
        self,
        state: FencedPartition,
        snapshot: LedgerSnapshot,
        now_ms: int,
        retention_ms: int,
        window_ms: int,
        report: Report,
    ) -> None:
        self._state = state
        self._snapshot = snapshot
        self._now_ms = now_ms
        self._retention_ms = retention_ms
        self._window_ms = window_ms
        self._report = report
        self._log = structlog.get_logger("worker.restoring")
        self._firsts: dict[str, _First] = {}
        self._held: Counter[str] = Counter()
        self._total = 0
        self.levels = 0
        self.holds = 0
        self.remembered = 0
        """Records that hold nothing any more."""
        self.corrected: dict[str, int] = {}
        """SKU -> units of its holds, where its level said something else."""

    def run(self, passed: Hook) -> None:
        """Write everything back. Raises RedisError, LedgerLost, FenceLost."""
        self._total = sum(self._snapshot.count())
        self._remember()
        self._restore_holds()
        passed("after_holds")
        self._restore_ended()
        self._restore_levels()
        passed("after_levels")

    def _remember(self) -> None:
        """From the archive: keyed reservations as they were asked for, and the stock changes of the window."""
        chunk: list[Restored] = []
        for number, entry in enumerate(self._snapshot.archive_back_to(self._now_ms - self._window_ms)):
            if number % 100 == 0:
                # A day of entries, of which few write anything: somebody must hear that we are alive.
                self._report(0, self._total)
            for place, event in enumerate(entry.events):
                if isinstance(event, Reserved):
                    # One whose lines cannot be read was set aside, and is no reservation.
                    with contextlib.suppress(ValueError):
                        self._first(event)
                elif isinstance(event, Adjusted) and is_reservation_id(event.id):
                    # A SKU's opening stock has no id of its own, and a repair is not asked for twice.
                    if event.reference_type == "Reconciliation":
                        continue
                    base, created_ms = split_id(event.id)
                    record = ("ADJUSTED", created_ms, ANY_REQUEST, entry.first_seq + place, event.lines, entry.epoch)
                    ttl_ms = created_ms + self._window_ms - self._now_ms
                    if ttl_ms > 0:
                        chunk.append(Restored(base, _pack(record), ttl_ms))
            if len(chunk) >= CHUNK:
                self._write_records(chunk)
        self._write_records(chunk)

    def _first(self, event: Reserved) -> None:
        if event.fingerprint:
            lines = ",".join([f"{line.sku}={line.quantity}" for line in event_lines(event.lines)])
            self._firsts[event.id] = _First(lines, event.details)

    def _restore_holds(self) -> None:
        deadlines: list[str] = []
        records: list[Restored] = []
        for row in self._snapshot.holds():
            lines = row.lines_text
            for line in row.lines:
                self._held[line.sku] += line.quantity
            deadlines += (str(row.deadline_ms), f"{row.id} {lines}")
            record = self._record(row, lines)
            if record is not None:
                records.append(record)
            self.holds += 1
            if len(deadlines) >= 2 * CHUNK:
                self._state.restore(deadlines=deadlines, records=records)
                deadlines, records = [], []
                self._report(self.holds, self._total)
        if deadlines:
            self._state.restore(deadlines=deadlines, records=records)

    def _restore_ended(self) -> None:
        chunk: list[Restored] = []
        for row in self._snapshot.ended(self._now_ms - self._window_ms, self._now_ms - self._retention_ms):
            record = self._record(row, row.lines_text)
            if record is not None:
                chunk.append(record)
                self.remembered += 1
            if len(chunk) >= CHUNK:
                self._write_records(chunk)
                self._report(self.holds, self._total)
        self._write_records(chunk)

    def _restore_levels(self) -> None:
        fields: list[str] = []
        for level in self._snapshot.levels():
            reserved = self._held.pop(level.sku, 0)
            if reserved != level.reserved:
                self._log.error(
                    "a level is not what its holds are", sku=level.sku, level=level.reserved, holds=reserved
                )
                self.corrected[level.sku] = reserved
            numbers = (level.on_hand, reserved, level.safety_stock, level.low_stock_threshold, int(level.active))
            fields += (level.sku, " ".join(map(str, numbers)))
            self.levels += 1
            if len(fields) >= 2 * CHUNK:
                self._state.restore(levels=fields)
                fields = []
                self._report(self.holds + self.levels, self._total)
        if fields:
            self._state.restore(levels=fields)
        for sku, units in self._held.items():
            self._log.error("a hold names a SKU that has no level", sku=sku, units=units)

    def _record(self, row: ReservationRow, lines: str) -> Restored | None:
        """The record of a reservation, for as long as the state machine would have kept it; None when that is over."""
        _, created_ms = split_id(row.id)
        active = row.status == "ACTIVE"
        until_ms = (row.deadline_ms if active else row.updated_ms) + self._retention_ms
        if row.fingerprint:
            until_ms = max(until_ms, created_ms + self._window_ms)
        if until_ms <= self._now_ms:
            return None
        first = self._firsts.get(row.id)
        details = first.details if first else None
        if details is None:
            details = _json(Details(row.customer_id, row.cart_id, row.deadline_ms - created_ms)).decode()
        changed = first is not None and sorted(parse_lines(first.lines)) != sorted(parse_lines(lines))
        record = Record(
            status=row.status,  # type: ignore[arg-type]
            created_ms=created_ms,
            deadline_ms=row.deadline_ms,
            updated_ms=row.updated_ms,
            owner=row.owner,
            fingerprint=row.fingerprint,
            lines=lines,
            first_lines=first.lines if first is not None and changed else "",
            order_id=row.order_id or "",
            details=details,
        )
        return Restored(row.id[:BASE_LENGTH], _pack(record), until_ms - self._now_ms)

    def _write_records(self, chunk: list[Restored]) -> None:
        for offset in range(0, len(chunk), CHUNK):
            self._state.restore(records=chunk[offset : offset + CHUNK])
        chunk.clear()
