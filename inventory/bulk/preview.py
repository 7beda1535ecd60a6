"""What a stock file would change: its rows checked, all of them, and held against the stock of this moment.

Owns reading and checking; moves nothing. Works through a file of any length in batches, so that memory stays flat and
nothing else in the process waits long.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice
from typing import BinaryIO, Final

from msgspec import Struct

from engine.limits import MAX_ON_HAND, MAX_QUANTITY, MAX_SKU, is_sku
from inventory.bulk.columns import MAX_NOTE, CellError, Columns, no_header, number_of, text_of
from inventory.bulk.sheets import Record, read_records
from inventory.context import Inventory
from persistence.queries.import_rows import ImportRow
from persistence.queries.imports import ImportMode, RowError

BATCH: Final = 1_000
"""Rows that are read, looked up and stored together."""
MAX_ERRORS: Final = 1_000
"""Errors that are kept; the rest are counted."""

_STOCK_COLUMNS: Final[dict[str, tuple[str, ...]]] = {"sku": (), "quantity": ("on_hand",), "note": ()}

Keep = Callable[[list[ImportRow]], Awaitable[None]]


class Tally:
    """What a file came to."""

    def __init__(self) -> None:
        self.rows = 0
        self.valid = 0
        self.changed = 0
        self.error_count = 0
        self._errors: list[RowError] = []

    @property
    def errors(self) -> tuple[RowError, ...]:
        """The first MAX_ERRORS, by row."""
        return tuple(sorted(self._errors, key=lambda error: error.row))

    def wrong(self, row: int, column: str, code: str, message: str) -> None:
        """Note that something is wrong."""
        self.error_count += 1
        if len(self._errors) < MAX_ERRORS:
            self._errors.append(RowError(row, column, code, message))


class SeenSkus:
    """Which row named a SKU first."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}

    def earlier(self, sku: str, row: int) -> int | None:
        """The row before `row` that named `sku`, None if this is the first."""
        first = self._first.setdefault(sku, row)
        return None if first == row else first


async def batches(records: Iterator[Record]) -> AsyncIterator[list[Record]]:
    """Records in batches, read in another thread. Raises what reading raises."""
    while batch := await asyncio.to_thread(lambda: list(islice(records, BATCH))):
        yield batch


async def preview(inventory: Inventory, file: BinaryIO, name: str, mode: ImportMode, keep: Keep) -> Tally:
    """Check every row, hand those that can be applied to `keep` in file order, and tell what was found.

    Raises UnsupportedFile, TooManyRows, Unavailable, and what `keep` raises.
    """
    tally, seen = Tally(), SeenSkus()
    columns: Columns | None = None
    async for batch in batches(read_records(file, name, inventory.settings.import_max_rows)):
        if columns is None:
            columns = _columns(batch.pop(0), tally)
            if columns.errors:
                return tally
        asked = [row for record in batch if (row := _asked(columns, record, mode, tally, seen)) is not None]
        await keep(await _held_against_stock(inventory, asked, mode, tally))
    if columns is None:
        _columns(no_header(), tally)
    return tally


def _columns(header: Record, tally: Tally) -> Columns:
    columns = Columns(header, _STOCK_COLUMNS, ("sku", "quantity"))
    for error in columns.errors:
        tally.wrong(error.row, error.column, error.code, error.message)
    return columns


def read_sku(columns: Columns, record: Record, tally: Tally, seen: SeenSkus) -> str | None:
    """The SKU of a row; None, with the reason in `tally`, when there is none or it was named before."""
    try:
        cell = columns.cell(record, "sku")
        if cell is None:
            raise CellError("unknown-sku", "There is no SKU in this row.")
        sku = text_of(cell, MAX_SKU)
        if not is_sku(sku):
            raise CellError("unknown-sku", "A SKU is 1-64 characters of A-Z a-z 0-9 . _ : - and inner single spaces.")
        earlier = seen.earlier(sku, record.number)
        if earlier is not None:
            raise CellError("duplicate-sku", f"{sku} stands in row {earlier} already.")
    except CellError as error:
        tally.wrong(record.number, "sku", error.code, error.message)
        return None
    return sku


def fits_header(record: Record, tally: Tally) -> bool:
    """False, with the reason in `tally`, for a row whose values cannot be told apart: `MUG,5,000` is no count of 5."""
    if record.surplus:
        message = "More values than the header has columns; a value with the separator in it needs quotes."
        tally.wrong(record.number, "", "too-many-values", message)
    return not record.surplus


class _Asked(Struct, frozen=True):
    """What a row asks for; without a quantity when that cannot be read, and only the SKU is still looked up."""

    number: int
    sku: str
    quantity: int | None
    note: str | None


def _asked(columns: Columns, record: Record, mode: ImportMode, tally: Tally, seen: SeenSkus) -> _Asked | None:
    if record.broken:
        tally.wrong(record.number, "", "bad-csv", record.broken)
        return None
    tally.rows += 1
    sku = read_sku(columns, record, tally, seen)
    quantity, note = None, None
    if not fits_header(record, tally):
        return None if sku is None else _Asked(record.number, sku, quantity, note)
    try:
        quantity = number_of(columns.cell(record, "quantity"), 0 if mode == "set" else -MAX_QUANTITY, MAX_QUANTITY)
    except CellError as error:
        tally.wrong(record.number, "quantity", error.code, error.message)
    try:
        cell = columns.cell(record, "note")
        note = None if cell is None else text_of(cell, MAX_NOTE)
    except CellError as error:
        tally.wrong(record.number, "note", error.code, error.message)
        quantity = None
    return None if sku is None else _Asked(record.number, sku, quantity, note)


async def _held_against_stock(
    inventory: Inventory, asked: list[_Asked], mode: ImportMode, tally: Tally
) -> list[ImportRow]:
    levels = {level.sku: level for level in await inventory.engine.stock_levels([row.sku for row in asked])}
    rows = []
    for row in asked:
        level = levels.get(row.sku)
        if level is None:
            tally.wrong(row.number, "sku", "unknown-sku", f"{row.sku} is not in the catalogue.")
            continue
        if row.quantity is None:
            continue
        change = row.quantity - level.on_hand if mode == "set" else row.quantity
        after = level.on_hand + change
        if after < 0:
            tally.wrong(row.number, "quantity", "out-of-range", f"There are only {level.on_hand} on hand.")
        elif after > MAX_ON_HAND or abs(change) > MAX_QUANTITY:
            tally.wrong(row.number, "quantity", "out-of-range", f"A row changes at most {MAX_QUANTITY} units.")
        else:
            rows.append(ImportRow(row.number, row.sku, row.quantity, level.on_hand, change, row.note))
            tally.changed += change != 0
    tally.valid += len(rows)
    return rows
