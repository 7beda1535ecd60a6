"""Repairs of drift on record: what was decided before a counter is moved, and what became of it.

Owns `drift_repairs` and `level_corrections`; the flusher alone says that a correction is applied (ledger_writer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Row, extract, func, insert, select, update

from persistence.database import Database
from persistence.named_lock import named_lock
from persistence.tables import drift_repairs, inventory_transactions, level_corrections

_REPAIR = drift_repairs.c
_CORRECTION = level_corrections.c


class CorrectionLine(Struct, frozen=True):
    """A break of on_hand that the flusher may take over: by `difference` units, at an event after `after_seq`."""

    sku: str
    difference: int
    after_seq: int


class DriftRepair(Struct, frozen=True):
    """One repair command. `lines` as the command takes them: (SKU, change of on_hand, change of reserved)."""

    id: str
    epoch: int
    lines: tuple[tuple[str, int, int], ...]
    reason: str
    created_by: str
    created_at: datetime | None = None
    age_s: float = 0.0
    seq: int | None = None
    """Of its event; None until that is known."""
    refused: str | None = None


def repair_lock(database: Database, partition: int) -> AbstractAsyncContextManager[None]:
    """One repair of a partition at a time, across processes; raises and promises what `named_lock` does."""
    return named_lock(database, database.lock_slots, "repair lock", str(partition))


async def begin(database: Database, partition: int, repair: DriftRepair, corrections: Sequence[CorrectionLine]) -> None:
    """Put a repair and its corrections on record, together, before it is done. Raises DatabaseUnavailable."""
    async with database.transaction() as transaction:
        await transaction.execute(
            insert(drift_repairs).values(
                id=repair.id,
                partition=partition,
                epoch=repair.epoch,
                lines=[list(line) for line in repair.lines],
                reason=repair.reason,
                created_by=repair.created_by,
            )
        )
        if corrections:
            await transaction.execute(
                insert(level_corrections),
                [
                    {
                        "repair_id": repair.id,
                        "partition": partition,
                        "epoch": repair.epoch,
                        "sku": line.sku,
                        "difference": line.difference,
                        "after_seq": line.after_seq,
                    }
                    for line in corrections
                ],
            )


async def done(database: Database, repair_id: str, seq: int) -> None:
    """Its event is in the journal: the flusher may take its corrections over. Raises DatabaseUnavailable."""
    await database.write(update(drift_repairs).where(_REPAIR.id == repair_id).values(seq=seq))


async def refused(database: Database, repair_id: str, why: str) -> None:
    """It was not done, and must not be: what it authorised and is still open is void. Raises DatabaseUnavailable."""
    async with database.transaction() as transaction:
        await transaction.execute(
            update(drift_repairs).where(_REPAIR.id == repair_id, _REPAIR.seq.is_(None)).values(refused=why)
        )
        await transaction.execute(
            update(level_corrections)
            .where(_CORRECTION.repair_id == repair_id, _CORRECTION.applied_seq.is_(None))
            .values(void=why)
        )


async def unfinished(database: Database, partition: int, epoch: int) -> list[DriftRepair]:
    """Repairs of which it is not known whether they were done, oldest first. Raises DatabaseUnavailable."""
    age = extract("epoch", func.clock_timestamp() - _REPAIR.created_at).label("age_s")
    rows = await database.fetch(
        select(drift_repairs, age)
        .where(_REPAIR.partition == partition, _REPAIR.epoch == epoch, _REPAIR.seq.is_(None), _REPAIR.refused.is_(None))
        .order_by(_REPAIR.created_at)
    )
    return [_repair_of(row) for row in rows]


async def ledger_seq(database: Database, partition: int, epoch: int, repair_id: str) -> int | None:
    """The event of a repair if the ledger has it. Raises DatabaseUnavailable."""
    ledger = inventory_transactions.c
    rows = await database.fetch(
        select(ledger.seq)
        .where(
            ledger.reference_id == repair_id,
            ledger.reference_type == "Reconciliation",
            ledger.partition == partition,
            ledger.epoch == epoch,
            ledger.line >= 0,
        )
        .limit(1)
    )
    return int(rows[0].seq) if rows else None


def _repair_of(row: Row[Any]) -> DriftRepair:
    return DriftRepair(
        row.id,
        row.epoch,
        msgspec.convert(row.lines, tuple[tuple[str, int, int], ...]),
        row.reason,
        row.created_by,
        row.created_at,
        float(row.age_s),
        row.seq,
        row.refused,
    )
