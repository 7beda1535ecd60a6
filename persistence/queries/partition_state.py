"""The row that says which server holds a partition, in which epoch, and whether it may be served. Only reads.

What writes it is persistence/recovery_ledger.py.
"""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from msgspec import Struct
from sqlalchemy import select

from persistence.database import Database
from persistence.tables import partition_state

State = Literal["OPEN", "REBUILDING", "REFUSED"]
COLUMNS: Final = "partition, epoch, run_id, state, reason, rebuilds, rebuild_ms"
"""In the order of the fields of PartitionState."""


class PartitionState(Struct, frozen=True):
    """What is admitted, or why nothing is."""

    partition: int
    epoch: int
    """Admitted last."""
    run_id: str
    """Of the server admitted last."""
    state: State
    reason: str
    """Why it is not OPEN."""
    rebuilds: int
    """Since the store was made."""
    rebuild_ms: int
    """How long the last one took."""


def state_of(row: Any) -> PartitionState:
    """A row with COLUMNS as PartitionState."""
    partition, epoch, run_id, state, reason, rebuilds, rebuild_ms = row
    return PartitionState(partition, epoch, run_id, cast("State", state), reason, rebuilds, rebuild_ms)


async def partition(database: Database, number: int = 0) -> PartitionState | None:
    """The state of a partition; None when it was never opened. Raises DatabaseUnavailable."""
    column = partition_state.c
    rows = await database.fetch(
        select(
            column.partition,
            column.epoch,
            column.run_id,
            column.state,
            column.reason,
            column.rebuilds,
            column.rebuild_ms,
        ).where(column.partition == number)
    )
    return state_of(rows[0]) if rows else None
