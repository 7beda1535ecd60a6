"""One SKU over time, for curves: what was on hand, what was sold, how many holds were made. Never writes.

Every question here looks at a number of moments or at a bounded stretch of time, by the index on (sku, created_at).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct
from sqlalchemy import text

from persistence.database import Database

_ON_HAND: Final = text(
    """
    SELECT g.at, (SELECT t.new_stock FROM inventory_transactions t
                  WHERE t.sku = :sku AND t.created_at <= g.at
                  ORDER BY t.created_at DESC, t.id DESC LIMIT 1) AS on_hand
    FROM generate_series(CAST(:since AS timestamptz), CAST(:until AS timestamptz),
                         (CAST(:until AS timestamptz) - CAST(:since AS timestamptz)) / :steps) AS g (at)
    ORDER BY g.at
    """
)
_SALES: Final = text(
    """
    SELECT date_bin(make_interval(secs => :step), created_at, CAST(:since AS timestamptz)) AS at,
           count(*) AS sales, sum(-quantity) AS units
    FROM inventory_transactions
    WHERE sku = :sku AND created_at >= :since AND transaction_type = 'OUT'
    GROUP BY 1 ORDER BY 1
    """
)
_HOLDS: Final = text(
    """
    SELECT date_bin(make_interval(secs => :step), created_at, CAST(:since AS timestamptz)) AS at, count(*) AS holds
    FROM reservation_skus WHERE sku = :sku AND created_at >= :since GROUP BY 1 ORDER BY 1
    """
)
_SELLING: Final = text(
    """
    SELECT sku, sum(-quantity) AS units
    FROM (SELECT sku, quantity, transaction_type FROM inventory_transactions
          WHERE created_at > now() - interval '1 day' ORDER BY created_at DESC, id DESC LIMIT :rows) AS latest
    WHERE transaction_type = 'OUT' GROUP BY sku ORDER BY 2 DESC, 1 LIMIT :most
    """
)
LATEST_ROWS: Final = 5_000
"""Of the ledger that `selling` looks at."""


class StockAt(Struct, frozen=True):
    """What was on hand at a moment; None: the SKU had no history yet."""

    at: datetime
    on_hand: int | None


class SalesIn(Struct, frozen=True):
    """One stretch of time, from `at` on: how many holds were made, how many sales, how many units were sold."""

    at: datetime
    holds: int
    sales: int
    units: int


class Selling(Struct, frozen=True):
    """A SKU that was sold lately."""

    sku: str
    units: int


async def on_hand(database: Database, sku: str, since: datetime, until: datetime, steps: int) -> tuple[StockAt, ...]:
    """What was on hand at `steps` + 1 moments from `since` to `until`. Raises DatabaseUnavailable."""
    rows = await database.fetch(_ON_HAND.bindparams(sku=sku, since=since, until=until, steps=steps))
    return tuple(StockAt(row.at, row.on_hand) for row in rows)


async def sales(database: Database, sku: str, since: datetime, step_s: int) -> tuple[SalesIn, ...]:
    """Holds and sales of each `step_s` seconds since then; stretches without either are left out.

    As the ledger has them. Raises DatabaseUnavailable.
    """
    sold = await database.fetch(_SALES.bindparams(sku=sku, since=since, step=float(step_s)))
    held = await database.fetch(_HOLDS.bindparams(sku=sku, since=since, step=float(step_s)))
    holds = {row.at: row.holds for row in held}
    by_time = {row.at: SalesIn(row.at, holds.get(row.at, 0), row.sales, int(row.units)) for row in sold}
    by_time |= {at: SalesIn(at, count, 0, 0) for at, count in holds.items() if at not in by_time}
    return tuple(by_time[at] for at in sorted(by_time))


async def selling(database: Database, most: int) -> tuple[Selling, ...]:
    """What sold best among the latest sales of the last day. Raises DatabaseUnavailable."""
    rows = await database.fetch(_SELLING.bindparams(rows=LATEST_ROWS, most=most))
    return tuple(Selling(row.sku, int(row.units)) for row in rows)
