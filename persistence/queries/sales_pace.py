"""How fast SKUs are selling, from the latest rows of the ledger. Never writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import text

from persistence.database import Transaction

ROWS_LOOKED_AT: Final = 500
"""Rows of a SKU at most: in a rush the latest sales tell the pace, and looking costs the same however many more."""

_PACE: Final = text(
    """
    SELECT s.sku, recent.units,
           extract(epoch FROM greatest(clock_timestamp() - greatest(
               CASE WHEN recent.found >= :rows THEN recent.oldest END,
               clock_timestamp() - make_interval(secs => :window), history.began), interval '1 second')) AS seconds
    FROM unnest(CAST(:skus AS text[])) AS s (sku)
    CROSS JOIN LATERAL (
        SELECT count(*) AS found, min(created_at) AS oldest,
               -sum(quantity) FILTER (WHERE transaction_type IN ('OUT', 'RETURN')
                                      OR (transaction_type = 'IN' AND reference_type = 'Order')) AS units
        FROM (SELECT quantity, transaction_type, reference_type, created_at FROM inventory_transactions t
              WHERE t.sku = s.sku AND t.created_at > clock_timestamp() - make_interval(secs => :window)
              ORDER BY t.created_at DESC, t.id DESC LIMIT :rows) AS latest
    ) AS recent
    CROSS JOIN LATERAL (SELECT min(created_at) AS began FROM inventory_transactions t WHERE t.sku = s.sku) AS history
    WHERE recent.units > 0
    """
)


async def units_a_second(connection: Transaction, skus: Iterable[str], window_s: float) -> dict[str, float]:
    """Net units sold a second (sales less returns and cancelled orders) within the last `window_s` seconds, by SKU.

    A SKU whose history is shorter than that is measured over its history, one that sells much over its latest rows.
    SKUs that sold nothing, on balance, are left out.
    """
    rows = await connection.execute(
        _PACE, {"skus": sorted(set(skus)), "window": float(window_s), "rows": ROWS_LOOKED_AT}
    )
    return {row.sku: float(row.units) / float(row.seconds) for row in rows}
