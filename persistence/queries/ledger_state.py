"""How far the ledger is and whether somebody is bringing it further: what readiness and metrics ask. Never writes."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, cast

from msgspec import Struct
from sqlalchemy import BigInteger, case, extract, func, select
from sqlalchemy import cast as sql_cast

from persistence.database import Database
from persistence.tables import flusher_status, journal_cursors, journal_quarantine

HEARTBEAT_STALE_MS: Final = 10_000
"""A flusher that has not reported for this long counts as dead; it reports every second."""


class LedgerCursor(Struct, frozen=True):
    """Where the ledger stands in a partition's journal."""

    partition: int
    partitions: int
    epoch: int
    seq: int
    stream_id: str
    updated_at: datetime


class FlusherReport(Struct, frozen=True):
    """The last word of a partition's flusher."""

    worker: str
    state: Literal["running", "halted", "stopped"]
    reason: str
    lag_events: int
    lag_ms: int
    heartbeat_age_ms: int

    @property
    def alive(self) -> bool:
        """True if it runs and has said so lately."""
        return self.state == "running" and self.heartbeat_age_ms < HEARTBEAT_STALE_MS


async def cursor(database: Database, partition: int = 0) -> LedgerCursor | None:
    """The cursor of a partition. Raises DatabaseUnavailable."""
    rows = await database.fetch(select(journal_cursors).where(journal_cursors.c.partition == partition))
    if not rows:
        return None
    (row,) = rows
    return LedgerCursor(row.partition, row.partitions, row.epoch, row.seq, row.stream_id, row.updated_at)


async def flusher(database: Database, partition: int = 0) -> FlusherReport | None:
    """The report of the partition's flusher; of several, one that is alive, else the latest.

    None when none ever ran. Raises DatabaseUnavailable.
    """
    status = flusher_status.c
    age = extract("epoch", func.clock_timestamp() - status.heartbeat_at)
    age_ms = sql_cast(age * 1000, BigInteger).label("age_ms")
    alive_first = case((status.state == "running", 0), else_=1)
    fresh_first = case((age_ms < HEARTBEAT_STALE_MS, 0), else_=1)
    rows = await database.fetch(
        select(flusher_status, age_ms)
        .where(status.partition == partition)
        .order_by(fresh_first, alive_first, status.heartbeat_at.desc())
        .limit(1)
    )
    if not rows:
        return None
    (row,) = rows
    state = cast("Literal['running', 'halted', 'stopped']", row.state)
    return FlusherReport(row.worker, state, row.reason, row.lag_events, row.lag_ms, max(0, row.age_ms))


async def quarantined(database: Database, partition: int = 0) -> int:
    """Entries and events in quarantine, whatever was done about them. Raises DatabaseUnavailable."""
    (row,) = await database.fetch(
        select(func.count().label("n"))
        .select_from(journal_quarantine)
        .where(journal_quarantine.c.partition == partition)
    )
    return int(row.n)
