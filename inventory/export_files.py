"""Rows of the stock as CSV and XLSX, with nothing in them that a spreadsheet would run.

Owns the two formats. Text that a spreadsheet takes for a formula gets an apostrophe in CSV, which the import takes away
again, and is a plain string in XLSX. Never holds a whole file in memory.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any, Final

import xlsxwriter  # type: ignore[import-untyped]

from inventory.bulk.columns import FORMULA_STARTS
from inventory.export import COLUMNS, ExportRow
from inventory.refusals import InvalidRequest

MAX_SHEET_ROWS: Final = 1_048_576
"""What one sheet of XLSX takes, its header included."""
_READ_BYTES: Final = 65_536
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_PLAIN: Final = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
}
_WIDTHS: Final = (24, 40, 20, 12, 12, 12, 20, 16)


def csv_header() -> bytes:
    """The first line."""
    return ",".join(COLUMNS).encode() + b"\r\n"


def csv_lines(rows: list[ExportRow]) -> bytes:
    """One line a row, RFC 4180, UTF-8."""
    text = io.StringIO()
    write = csv.writer(text).writerow
    for row in rows:
        write(
            (
                harmless(row.sku),
                harmless(row.name),
                harmless(row.category),
                row.on_hand,
                row.reserved,
                row.available,
                row.low_stock_threshold,
                row.status,
            )
        )
    return text.getvalue().encode()


def harmless(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet would take it for a formula."""
    return f"'{text}" if text[:1] and text[0] in FORMULA_STARTS else text


@asynccontextmanager
async def xlsx_file(pieces: AsyncIterator[list[ExportRow]]) -> AsyncIterator[AsyncIterator[bytes]]:
    """The finished workbook, to be read in parts inside the block; it is gone afterwards. Written in a thread.

    Raises InvalidRequest when there are more rows than a sheet takes, and what `pieces` raises.
    """
    with await asyncio.to_thread(tempfile.TemporaryFile) as target:
        sheet = await asyncio.to_thread(_Sheet, target)
        try:
            async for rows in pieces:
                await asyncio.to_thread(sheet.write, rows)
        finally:
            # Also after a failure: it removes the writer's own temporary files.
            await asyncio.to_thread(sheet.close)
        target.seek(0)
        yield _parts(target)


async def _parts(source: IO[bytes]) -> AsyncIterator[bytes]:
    while part := await asyncio.to_thread(source.read, _READ_BYTES):
        yield part


class _Sheet:
    """A workbook of one sheet that is being written."""

    def __init__(self, target: IO[bytes]) -> None:
        self._workbook: Any = xlsxwriter.Workbook(target, _PLAIN)
        self._sheet = self._workbook.add_worksheet("inventory")
        self._sheet.freeze_panes(1, 0)
        bold = self._workbook.add_format({"bold": True})
        for column, (name, width) in enumerate(zip(COLUMNS, _WIDTHS, strict=True)):
            self._sheet.set_column(column, column, width)
            self._sheet.write_string(0, column, name, bold)
        self._next = 1

    def write(self, rows: list[ExportRow]) -> None:
        """Append rows. Raises InvalidRequest when the sheet is full."""
        if self._next + len(rows) > MAX_SHEET_ROWS:
            raise InvalidRequest(f"an XLSX sheet takes {MAX_SHEET_ROWS - 1} rows; filter, or take CSV", "format")
        text, number = self._sheet.write_string, self._sheet.write_number
        for at, row in enumerate(rows, self._next):
            text(at, 0, row.sku)
            text(at, 1, _NOT_XML.sub("\ufffd", row.name))
            text(at, 2, _NOT_XML.sub("\ufffd", row.category))
            number(at, 3, row.on_hand)
            number(at, 4, row.reserved)
            number(at, 5, row.available)
            number(at, 6, row.low_stock_threshold)
            text(at, 7, row.status)
        self._next += len(rows)

    def close(self) -> None:
        """Finish the file."""
        self._workbook.close()
