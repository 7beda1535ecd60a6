"""How far each follower of the journal has come: one row a follower, held while it works, moved by compare-and-set.

Owns the table's statements; never reads the journal (journal_archive.py).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Database, Transaction
from persistence.queries.journal_archive import Position
from persistence.tables import follower_cursors

_ROW = follower_cursors.c

SILENT_MS: Final = 30_000
"""A process that stops in the middle of a batch keeps the others waiting for this long; then Postgres ends it."""


class FollowerState(Struct, frozen=True):
    """Where one follower stands."""

    follower: str
    position: Position


async def hold(transaction: Transaction, follower: str, partition: int = 0) -> Position | None:
    """Where `follower` stands, its row kept from others until the transaction ends.

    None when another process is at work for it, or when it has never begun (see `begin`).
    """
    await transaction.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {SILENT_MS}"))
    statement = (
        select(_ROW.epoch, _ROW.seq)
        .where(_ROW.follower == follower, _ROW.partition == partition)
        .with_for_update(skip_locked=True)
    )
    row = (await transaction.execute(statement)).first()
    return None if row is None else Position(row.epoch, row.seq)


async def begin(database: Database, follower: str, position: Position, partition: int = 0) -> None:
    """Let `follower` begin at `position`, unless it has begun already. Raises DatabaseUnavailable."""
    values = {"follower": follower, "partition": partition, "epoch": position.epoch, "seq": position.seq}
    await database.write(insert(follower_cursors).values(values).on_conflict_do_nothing())


async def move(transaction: Transaction, follower: str, old: Position, new: Position, partition: int = 0) -> bool:
    """Move on from `old` to `new`; False when it does not stand at `old`."""
    statement = (
        update(follower_cursors)
        .where(
            _ROW.follower == follower,
            _ROW.partition == partition,
            _ROW.epoch == old.epoch,
            _ROW.seq == old.seq,
        )
        .values(epoch=new.epoch, seq=new.seq, updated_at=func.clock_timestamp())
    )
    return (await transaction.execute(statement)).rowcount == 1


async def states(database: Database, partition: int = 0) -> list[FollowerState]:
    """Every follower, by name. Raises DatabaseUnavailable."""
    rows = await database.fetch(select(follower_cursors).where(_ROW.partition == partition).order_by(_ROW.follower))
    return [FollowerState(row.follower, Position(row.epoch, row.seq)) for row in rows]
