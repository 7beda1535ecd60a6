"""The whole stock as rows for a spreadsheet: the catalogue's names beside the live counters, a piece at a time.

Owns which rows there are and what stands in them; the files made of them stand in export_files.py. Never holds more
than one piece in memory, and nothing open between two of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from persistence.queries import catalogue_walk
from persistence.queries.catalogue_walk import CatalogueFilter

if TYPE_CHECKING:
    from engine.results import StockLevel
    from inventory.context import Inventory
    from persistence.queries.catalogue_walk import CatalogueEntry

StockState = Literal["IN_STOCK", "LOW_STOCK", "OUT_OF_STOCK"]

PIECE: Final = 1_000
"""Products that are looked up together. A piece keeps the event loop for some milliseconds."""


class ExportFilter(Struct, frozen=True, kw_only=True):
    """Which rows; None: any. Units are inclusive bounds on `available`."""

    category: str | None = None
    status: StockState | Literal["active", "inactive"] | None = None
    """A state of the stock, or whether the product is sold."""
    min_available: int | None = None
    max_available: int | None = None

    @property
    def catalogue(self) -> CatalogueFilter:
        """The part that the catalogue answers."""
        if self.status == "active":
            return CatalogueFilter(self.category, "active")
        return CatalogueFilter(self.category, "inactive" if self.status == "inactive" else None)


class ExportRow(Struct, frozen=True):
    """One SKU, its counters in units as they stood when its piece was read. The fields are the columns, in order."""

    sku: str
    name: str
    category: str
    on_hand: int
    reserved: int
    available: int
    low_stock_threshold: int
    status: StockState


def state_of(level: StockLevel) -> StockState:
    """OUT_OF_STOCK at 0, LOW_STOCK below the threshold, else IN_STOCK."""
    if level.available == 0:
        return "OUT_OF_STOCK"
    return "LOW_STOCK" if level.available < level.low_stock_threshold else "IN_STOCK"


async def products_at_most(inventory: Inventory, filters: ExportFilter) -> int:
    """How many rows there can be, for a progress bar. Raises DatabaseUnavailable."""
    return await catalogue_walk.count(inventory.database, filters.catalogue)


async def export_rows(inventory: Inventory, filters: ExportFilter) -> AsyncIterator[list[ExportRow]]:
    """Every row in SKU order, in pieces. Each row is true at its own moment: the shop goes on selling meanwhile.

    A product that the engine does not have yet is left out. Raises Unavailable and DatabaseUnavailable at any piece.
    """
    after: str | None = None
    while True:
        entries = await catalogue_walk.piece(inventory.database, filters.catalogue, after, PIECE)
        if entries:
            levels = await inventory.engine.stock_levels([entry.sku for entry in entries])
            rows = [_row(entry, level) for entry, level in _matched(entries, levels)]
            yield [row for row in rows if _wanted(row, filters)]
        if len(entries) < PIECE:
            return
        after = entries[-1].sku


def _matched(entries: tuple[CatalogueEntry, ...], levels: list[StockLevel]) -> list[tuple[CatalogueEntry, StockLevel]]:
    by_sku = {level.sku: level for level in levels}
    return [(entry, by_sku[entry.sku]) for entry in entries if entry.sku in by_sku]


def _row(entry: CatalogueEntry, level: StockLevel) -> ExportRow:
    return ExportRow(
        entry.sku,
        entry.name,
        entry.category or "",
        level.on_hand,
        level.reserved,
        level.available,
        level.low_stock_threshold,
        state_of(level),
    )


def _wanted(row: ExportRow, filters: ExportFilter) -> bool:
    return (
        (filters.min_available is None or row.available >= filters.min_available)
        and (filters.max_available is None or row.available <= filters.max_available)
        and (filters.status in {None, "active", "inactive"} or row.status == filters.status)
    )
