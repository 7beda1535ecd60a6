"""What the ledger adds up to, read in one snapshot for an audit.

Owns those queries; never writes and never judges.
"""

from __future__ import annotations

import psycopg
from msgspec import Struct

from persistence.database_url import psycopg_url


class LedgerSums(Struct, frozen=True):
    """Postgres at one moment."""

    epoch: int
    seq: int
    """Last event that is in the ledger."""
    rows: int
    quantities: dict[str, int]
    """SKU -> sum of its ledger quantities, in units."""
    levels: dict[str, tuple[int, int]]
    """SKU -> (on_hand, reserved)."""
    active_reservations: set[str]
    quarantined: int
    """Quarantined events that changed nothing in the ledger."""
    broken_chains: tuple[str, ...]
    """Rows whose previous_stock is not the new_stock of the SKU's row before it, in words; at most 1,000."""


def read_ledger_sums(database_url: str, partition: int = 0) -> LedgerSums:
    """Read it all in one snapshot; walks the whole ledger. Raises psycopg.Error."""
    with psycopg.connect(psycopg_url(database_url)) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor = connection.execute(
            "SELECT epoch, seq FROM journal_cursors WHERE partition = %s", (partition,)
        ).fetchone()
        epoch, seq = cursor if cursor is not None else (0, 0)
        quantities = connection.execute(
            "SELECT sku, sum(quantity)::bigint, count(*) FROM inventory_transactions WHERE partition = %s GROUP BY sku",
            (partition,),
        ).fetchall()
        levels = connection.execute(
            "SELECT sku, on_hand, reserved FROM inventory_levels WHERE partition = %s", (partition,)
        ).fetchall()
        active = connection.execute(
            "SELECT id FROM stock_reservations WHERE partition = %s AND status = 'ACTIVE'", (partition,)
        ).fetchall()
        quarantined = connection.execute(
            "SELECT count(*) FROM journal_quarantine WHERE partition = %s AND applied = 'nothing'", (partition,)
        ).fetchone()
        broken = connection.execute(
            "SELECT sku, epoch, seq, line, previous_stock, before FROM (SELECT *, lag(new_stock, 1, 0::bigint)"
            " OVER (PARTITION BY sku ORDER BY epoch, seq, line) AS before FROM inventory_transactions"
            " WHERE partition = %s) AS chained WHERE previous_stock <> before ORDER BY sku, epoch, seq LIMIT 1000",
            (partition,),
        ).fetchall()
    return LedgerSums(
        epoch=epoch,
        seq=seq,
        rows=sum(count for _, _, count in quantities),
        quantities={sku: total for sku, total, _ in quantities},
        levels={sku: (on_hand, reserved) for sku, on_hand, reserved in levels},
        active_reservations={row[0] for row in active},
        quarantined=quarantined[0] if quarantined else 0,
        broken_chains=tuple(
            f"{sku}: event {number} line {line} begins with {previous}, the row before ended with {before}"
            for sku, _, number, line, previous, before in broken
        ),
    )
