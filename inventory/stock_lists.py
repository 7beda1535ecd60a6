"""What runs low and what has run out, live: found in Postgres, held against the counters.

Owns how current the lists are. A list shows every change that was answered before it was asked for: it waits until
the ledger has the journal's last event of that moment, and shows the counters as they stand when it answers.
"""

from __future__ import annotations

from typing import Final

from engine.errors import NotReady
from engine.results import StockLevel
from inventory.context import PARTITION, Inventory
from persistence.pages import Page, make_cursor, read_cursor
from persistence.queries import stock_lists
from persistence.queries.stock_lists import StockList

LEDGER_WAIT_S: Final = 1.0
"""A ledger that is further behind than this is not waited for: the counters are walked instead."""


async def list_stock(
    inventory: Inventory, which: StockList, limit: int = 50, cursor: str | None = None
) -> Page[StockLevel]:
    """A page of SKUs, lowest first: `low` has 0 < available < threshold, `out` has nothing available.

    A SKU that moved while the page was made may be missing from it. Raises InvalidCursor, DatabaseUnavailable,
    engine.errors.Unavailable.
    """
    key, scope = await inventory.database.cursor_key(), ("stock", which)
    after = None
    if cursor is not None:
        available, sku = read_cursor(key, scope, cursor, (int, str))
        after = (int(available), str(sku))
    state = await inventory.engine.journal_state()
    if state.epoch != inventory.epoch:
        raise NotReady(f"Redis is of epoch {state.epoch}, this process of {inventory.epoch}")
    if await inventory.watermark.reached(PARTITION, state.epoch, state.seq, LEDGER_WAIT_S):
        found = await stock_lists.candidates(inventory.database, which, limit + 1, after)
    else:
        found = await _walked(inventory, which, after)
    page = found[:limit]
    levels = [
        level for level in await inventory.engine.stock_levels([sku for _, sku in page]) if _belongs(level, which)
    ]
    levels.sort(key=lambda level: (level.available, level.sku))
    # From what was found, not from what is shown: what moved meanwhile must not lead the next page astray.
    return Page(tuple(levels), make_cursor(key, scope, page[-1]) if len(found) > limit else None)


async def _walked(inventory: Inventory, which: StockList, after: tuple[int, str] | None) -> list[tuple[int, str]]:
    levels = await inventory.engine.stock_levels(None)
    found = sorted((level.available, level.sku) for level in levels if _belongs(level, which))
    return found if after is None else [position for position in found if position > after]


def _belongs(level: StockLevel, which: StockList) -> bool:
    if which == "out":
        return level.available == 0
    return 0 < level.available < level.low_stock_threshold
