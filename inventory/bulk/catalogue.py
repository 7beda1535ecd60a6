"""Products made and changed by file: every row checked first, then all of them put.

Owns what a catalogue file may hold. A product that is put again is the same product, so a file whose import was broken
off is simply imported again; unlike stock, nothing here needs a preview that can be undone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Final, cast

from msgspec import Struct

from engine.limits import MAX_ON_HAND, MAX_QUANTITY
from inventory.bulk.columns import CellError, Columns, no_header, number_of, text_of
from inventory.bulk.preview import SeenSkus, Tally, batches, fits_header, read_sku
from inventory.bulk.sheets import Cell, Record, read_records
from inventory.context import Inventory
from inventory.products import ProductChange, put_products
from persistence.queries import products
from persistence.queries.imports import RowError
from persistence.queries.products import ProductStatus

MAX_NAME: Final = 255
BATCHES_AHEAD: Final = 5
"""Batches in the journal that the ledger need not have yet."""

_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "sku": (),
    "name": (),
    "category": (),
    "low_stock_threshold": (),
    "safety_stock": (),
    "status": (),
    "initial_stock": (),
}


class CatalogueImport(Struct, frozen=True):
    """What a catalogue file came to. Counts are rows."""

    applied: bool
    rows: int
    valid: int
    created: int
    """Rows whose SKU was not in the catalogue."""
    updated: int
    error_count: int
    errors: tuple[RowError, ...]
    """The first thousand."""


async def import_catalogue(
    inventory: Inventory, file: BinaryIO, name: str, caller: str, *, dry_run: bool
) -> CatalogueImport:
    """Put every product of the file, unless `dry_run`, or a row has an error: then nothing is changed at all.

    Returns once the ledger has it. Raises UnsupportedFile, TooManyRows, LedgerLate, Unavailable, DatabaseUnavailable;
    after the last three some of the products may have been put, and importing the file again is safe.
    """
    tally, created = await _check(inventory, file, name)
    applied = not dry_run and not tally.error_count
    if applied:
        await _put(inventory, file, name, caller)
    return CatalogueImport(
        applied, tally.rows, tally.valid, created, tally.valid - created, tally.error_count, tally.errors
    )


async def _check(inventory: Inventory, file: BinaryIO, name: str) -> tuple[Tally, int]:
    """What is wrong with the file, and how many of its products are new."""
    tally, seen, created = Tally(), SeenSkus(), 0
    columns: Columns | None = None
    async for batch in batches(read_records(file, name, inventory.settings.import_max_rows)):
        if columns is None:
            columns = _columns(batch.pop(0), tally)
            if columns.errors:
                return tally, 0
        changes = [change for record in batch if (change := _change(columns, record, tally, seen)) is not None]
        known = await products.by_skus(inventory.database, [change.sku for change in changes])
        created += len(changes) - len(known)
        tally.valid += len(changes)
    if columns is None:
        _columns(no_header(), tally)
    return tally, created


async def _put(inventory: Inventory, file: BinaryIO, name: str, caller: str) -> None:
    """Read the file again, which is good, and put its products, never far ahead of the ledger."""
    tally, seen = Tally(), SeenSkus()
    ahead: deque[tuple[int, int]] = deque()
    """(sequence number, epoch) of each batch the ledger may not have yet."""
    columns: Columns | None = None
    async for batch in batches(read_records(file, name, inventory.settings.import_max_rows)):
        if columns is None:
            columns = _columns(batch.pop(0), tally)
        changes = [change for record in batch if (change := _change(columns, record, tally, seen)) is not None]
        if changes:
            put = await put_products(inventory, changes, caller)
            ahead.append((put.seq, put.epoch))
        if len(ahead) > BATCHES_AHEAD:
            await inventory.committed(*ahead.popleft())
    if ahead:
        await inventory.committed(*ahead[-1])


def _columns(header: Record, tally: Tally) -> Columns:
    columns = Columns(header, _COLUMNS, ("sku", "name"))
    for error in columns.errors:
        tally.wrong(error.row, error.column, error.code, error.message)
    return columns


def _change(columns: Columns, record: Record, tally: Tally, seen: SeenSkus) -> ProductChange | None:
    """What a row wants of a product; None, with the reasons in `tally`, if anything is wrong with it."""
    if record.broken:
        tally.wrong(record.number, "", "bad-csv", record.broken)
        return None
    tally.rows += 1
    errors = tally.error_count
    sku = read_sku(columns, record, tally, seen)
    read: dict[str, str | int | None] = {}
    if not fits_header(record, tally):
        return None
    for column, take in _CELLS.items():
        cell = columns.cell(record, column)
        try:
            if cell is None and column == "name":
                raise CellError("bad-text", "A product needs a name.")
            read[column] = None if cell is None else take(cell)
        except CellError as error:
            tally.wrong(record.number, column, error.code, error.message)
    if sku is None or tally.error_count > errors:
        return None
    return ProductChange(
        sku=sku,
        name=cast("str", read["name"]),
        category=cast("str | None", read["category"]),
        low_stock_threshold=cast("int | None", read["low_stock_threshold"]),
        safety_stock=cast("int | None", read["safety_stock"]),
        status=cast("ProductStatus | None", read["status"]),
        initial_stock=cast("int | None", read["initial_stock"]) or 0,
    )


def _status(cell: Cell) -> str | None:
    status = text_of(cell, MAX_NAME).lower()
    if status in {"in_stock", "low_stock", "out_of_stock"}:
        # What an export says of the stock; of the product it says nothing.
        return None
    if status not in {"active", "inactive"}:
        raise CellError("bad-status", "This must be active or inactive.")
    return status


_CELLS: Final[dict[str, Callable[[Cell], str | int | None]]] = {
    "name": lambda cell: text_of(cell, MAX_NAME),
    "category": lambda cell: text_of(cell, MAX_NAME),
    "low_stock_threshold": lambda cell: number_of(cell, 0, MAX_QUANTITY),
    "safety_stock": lambda cell: number_of(cell, 0, MAX_QUANTITY),
    "status": _status,
    "initial_stock": lambda cell: number_of(cell, 0, MAX_ON_HAND),
}
