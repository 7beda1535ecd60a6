"""What an audit asks of Postgres: the ledger's own picture at its cursor, and whether the ledger agrees with itself.

Owns those statements; never judges, and but for `remember` never writes. Each statement is short: large tables are
walked in ranges of SKUs, so that no audit loads Postgres for long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import BigInteger, Select, Text, and_, cast, extract, func, select, text
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Database, Transaction
from persistence.tables import (
    inventory_levels,
    inventory_transactions,
    journal_cursors,
    journal_quarantine,
    level_corrections,
    reconciliations,
    stock_reservations,
)

ROWS: Final = 1_000
"""Rows fetched at a time: whoever reads them shares its event loop with requests."""

_LEVEL = inventory_levels.c
_LEDGER = inventory_transactions.c
_HOLD = stock_reservations.c


class LedgerPosition(Struct, frozen=True):
    """Where a snapshot stands in the journal."""

    epoch: int
    seq: int
    stream_id: str


class LedgerLevel(Struct, frozen=True, gc=False):
    """A SKU as `inventory_levels` has it."""

    sku: str
    on_hand: int
    reserved: int


class HeldLine(Struct, frozen=True):
    """One line of a reservation."""

    sku: str
    quantity: int


class LedgerHold(Struct, frozen=True, gc=False):
    """An ACTIVE reservation."""

    id: str
    lines: tuple[tuple[str, int], ...]
    deadline_ms: int


class LedgerBalance(Struct, frozen=True):
    """One SKU's part of the ledger against its level, read in one statement."""

    sku: str
    on_hand: int
    """Of the level."""
    newest: int
    """new_stock of the newest row; 0 when there is none."""
    total: int
    """Sum of all quantities."""
    rows: int
    breaks: int
    """Rows whose previous_stock is not the new_stock of the row before."""
    broken_at: int
    """Sequence number of the first of them; 0 when there is none."""
    level_epoch: int
    level_seq: int
    """Of the last event that changed the level."""


class LastReconciliation(Struct, frozen=True):
    """The outcome of the latest scheduled run."""

    at: datetime
    age_s: float
    found: int
    checked_skus: int
    checked_holds: int
    took_ms: int


_decode_lines = msgspec.json.Decoder(list[HeldLine]).decode


async def position(snapshot: Transaction, partition: int) -> LedgerPosition | None:
    """The cursor that everything else in this snapshot belongs to."""
    cursors = journal_cursors.c
    found = await snapshot.execute(
        select(cursors.epoch, cursors.seq, cursors.stream_id).where(cursors.partition == partition)
    )
    row = found.one_or_none()
    return None if row is None else LedgerPosition(row.epoch, row.seq, row.stream_id)


async def levels(snapshot: Transaction, partition: int) -> AsyncIterator[list[LedgerLevel]]:
    """Every level, some at a time."""
    statement = select(_LEVEL.sku, _LEVEL.on_hand, _LEVEL.reserved).where(_LEVEL.partition == partition)
    async for rows in _some_at_a_time(snapshot, statement):
        yield [LedgerLevel(sku, on_hand, reserved) for sku, on_hand, reserved in rows]


async def active_holds(snapshot: Transaction, partition: int, ends_after_ms: int) -> AsyncIterator[list[LedgerHold]]:
    """Every ACTIVE reservation whose deadline is later than `ends_after_ms` (Unix ms; 0: every one), some at a time.

    The bound is what makes it cheap: the index by deadline finds the live ones among years of ended ones.
    """
    ends_ms = cast(func.round(extract("epoch", _HOLD.expires_at) * 1000), BigInteger)
    statement = select(_HOLD.id, cast(_HOLD.lines, Text), ends_ms).where(
        _HOLD.partition == partition, _HOLD.status == "ACTIVE"
    )
    if ends_after_ms > 0:
        statement = statement.where(_HOLD.expires_at > func.to_timestamp(ends_after_ms / 1000))
    async for rows in _some_at_a_time(snapshot, statement):
        yield [
            LedgerHold(name, tuple([(line.sku, line.quantity) for line in _decode_lines(lines)]), deadline_ms)
            for name, lines, deadline_ms in rows
        ]


async def open_corrections(snapshot: Transaction, partition: int, epoch: int) -> dict[str, int]:
    """SKU -> units of breaks that the flusher may take over and has not met yet."""
    corrections = level_corrections.c
    found = await snapshot.execute(
        select(corrections.sku, func.sum(corrections.difference).cast(BigInteger).label("difference"))
        .where(
            corrections.partition == partition,
            corrections.epoch == epoch,
            corrections.applied_seq.is_(None),
            corrections.void.is_(None),
        )
        .group_by(corrections.sku)
    )
    return {row.sku: row.difference for row in found}


async def lost_events(database: Database, partition: int, epoch: int) -> int:
    """Sequence number of the last event of this epoch whose effect is not known; 0 when there is none."""
    quarantine = journal_quarantine.c
    (row,) = await database.fetch(
        select(func.coalesce(func.max(quarantine.seq), 0).label("seq")).where(
            quarantine.partition == partition, quarantine.epoch == epoch, quarantine.applied == "nothing"
        )
    )
    return int(row.seq)


async def quarantined(database: Database, partition: int) -> int:
    """Journal entries and events that were set aside without any effect. Raises DatabaseUnavailable."""
    quarantine = journal_quarantine.c
    (row,) = await database.fetch(
        select(func.count().label("n"))
        .select_from(journal_quarantine)
        .where(quarantine.partition == partition, quarantine.applied == "nothing")
    )
    return int(row.n)


async def newest_balances(database: Database, partition: int, after_sku: str, limit: int) -> list[tuple[str, int, int]]:
    """(SKU, on_hand of its level, new_stock of its newest ledger row) of the next `limit` SKUs in order.

    One statement, so that both sides are of one moment. Raises DatabaseUnavailable.
    """
    some = (
        select(_LEVEL.sku, _LEVEL.on_hand)
        .where(_LEVEL.partition == partition, _LEVEL.sku > after_sku)
        .order_by(_LEVEL.sku)
        .limit(limit)
        .subquery()
    )
    newest = (
        select(_LEDGER.new_stock)
        .where(_LEDGER.sku == some.c.sku)
        .order_by(_LEDGER.created_at.desc(), _LEDGER.id.desc())
        .limit(1)
        .correlate(some)
        .scalar_subquery()
    )
    rows = await database.fetch(select(some.c.sku, some.c.on_hand, func.coalesce(newest, 0).label("newest")))
    return [(row.sku, row.on_hand, row.newest) for row in rows]


async def balances(database: Database, partition: int, skus: Sequence[str]) -> list[LedgerBalance]:
    """The whole ledger of these SKUs against their levels, in one statement. Raises DatabaseUnavailable."""
    chained = (
        select(
            _LEDGER.sku,
            _LEDGER.seq,
            _LEDGER.quantity,
            _LEDGER.previous_stock,
            _LEDGER.new_stock,
            func.lag(_LEDGER.new_stock, 1, text("0::bigint"))
            .over(partition_by=_LEDGER.sku, order_by=(_LEDGER.epoch, _LEDGER.seq, _LEDGER.line))
            .label("before"),
            func.row_number()
            .over(
                partition_by=_LEDGER.sku,
                order_by=(_LEDGER.epoch.desc(), _LEDGER.seq.desc(), _LEDGER.line.desc()),
            )
            .label("age"),
        )
        .where(_LEDGER.partition == partition, _LEDGER.sku == func.any(list(skus)))
        .subquery()
    )
    broken = chained.c.previous_stock != chained.c.before
    summed = (
        select(
            chained.c.sku,
            func.sum(chained.c.quantity).cast(BigInteger).label("total"),
            func.count().label("rows"),
            func.count().filter(broken).label("breaks"),
            func.coalesce(func.min(chained.c.seq).filter(broken), 0).label("broken_at"),
            func.max(chained.c.new_stock).filter(chained.c.age == 1).label("newest"),
        )
        .group_by(chained.c.sku)
        .subquery()
    )
    rows = await database.fetch(
        select(
            func.coalesce(_LEVEL.sku, summed.c.sku).label("sku"),
            func.coalesce(_LEVEL.on_hand, 0).label("on_hand"),
            func.coalesce(summed.c.newest, 0).label("newest"),
            func.coalesce(summed.c.total, 0).label("total"),
            func.coalesce(summed.c.rows, 0).label("rows"),
            func.coalesce(summed.c.breaks, 0).label("breaks"),
            func.coalesce(summed.c.broken_at, 0).label("broken_at"),
            func.coalesce(_LEVEL.epoch, 0).label("level_epoch"),
            func.coalesce(_LEVEL.seq, 0).label("level_seq"),
        )
        .select_from(summed.outerjoin(inventory_levels, _LEVEL.sku == summed.c.sku, full=True))
        .where(func.coalesce(_LEVEL.sku, summed.c.sku) == func.any(list(skus)))
    )
    return [msgspec.convert(row._asdict(), LedgerBalance) for row in rows]


async def next_skus(database: Database, partition: int, after_sku: str, limit: int) -> list[str]:
    """The next `limit` SKUs that have a level, in order. Raises DatabaseUnavailable."""
    rows = await database.fetch(
        select(_LEVEL.sku)
        .where(and_(_LEVEL.partition == partition, _LEVEL.sku > after_sku))
        .order_by(_LEVEL.sku)
        .limit(limit)
    )
    return [row.sku for row in rows]


async def remember(database: Database, partition: int, outcome: LastReconciliation, epoch: int, seq: int) -> None:
    """Note the outcome of the latest run, for the metrics. Raises DatabaseUnavailable."""
    values = {
        "at": outcome.at,
        "epoch": epoch,
        "seq": seq,
        "checked_skus": outcome.checked_skus,
        "checked_holds": outcome.checked_holds,
        "found": outcome.found,
        "took_ms": outcome.took_ms,
    }
    await database.write(
        insert(reconciliations)
        .values(partition=partition, **values)
        .on_conflict_do_update(index_elements=["partition"], set_=values)
    )


async def latest(database: Database, partition: int) -> LastReconciliation | None:
    """The outcome of the latest scheduled run; None before the first. Raises DatabaseUnavailable."""
    found = reconciliations.c
    age = extract("epoch", func.clock_timestamp() - found.at).label("age_s")
    rows = await database.fetch(select(reconciliations, age).where(found.partition == partition))
    if not rows:
        return None
    (row,) = rows
    return LastReconciliation(row.at, float(row.age_s), row.found, row.checked_skus, row.checked_holds, row.took_ms)


async def _some_at_a_time(snapshot: Transaction, statement: Select[Any]) -> AsyncIterator[Sequence[Any]]:
    found = await snapshot.stream(statement, execution_options={"yield_per": ROWS})
    try:
        async for rows in found.partitions(ROWS):
            yield rows
    finally:
        await found.close()
