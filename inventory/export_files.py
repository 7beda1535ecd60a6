"""Rows as CSV and XLSX, with nothing in them that a spreadsheet would run: the stock, and the ledger.

Owns the two formats and how wide columns are. Text that a spreadsheet takes for a formula gets an apostrophe in CSV,
which the import takes away again, and is a plain string in XLSX. Never holds a whole file in memory.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import IO, Any, Final

import xlsxwriter  # type: ignore[import-untyped]
from msgspec import Struct

from inventory.bulk.columns import FORMULA
from inventory.export import ExportRow
from inventory.ledger_export import LedgerRow
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


class Layout(Struct, frozen=True):
    """A file's columns: the fields of its rows, in order, each a text or a whole number."""

    title: str
    columns: tuple[str, ...]
    widths: tuple[int, ...]
    """Of the sheet's columns, in characters."""


STOCK: Final = Layout("inventory", ExportRow.__struct_fields__, (24, 40, 20, 12, 12, 12, 20, 16))
LEDGER: Final = Layout("ledger", LedgerRow.__struct_fields__, (12, 26, 24, 16, 10, 14, 12, 16, 40, 40, 24))


def csv_header(layout: Layout = STOCK) -> bytes:
    """The first line."""
    return ",".join(layout.columns).encode() + b"\r\n"


def csv_lines(rows: Sequence[Struct], layout: Layout = STOCK) -> bytes:
    """One line a row, RFC 4180, UTF-8."""
    text = io.StringIO()
    write = csv.writer(text).writerow
    values = attrgetter(*layout.columns)
    for row in rows:
        write([harmless(value) if type(value) is str else value for value in values(row)])
    return text.getvalue().encode()


def harmless(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet would take it for a formula."""
    return f"'{text}" if FORMULA.match(text) else text


@asynccontextmanager
async def xlsx_file(
    pieces: AsyncIterator[Sequence[Struct]], layout: Layout = STOCK
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The finished workbook, to be read in parts inside the block; it is gone afterwards. Written in a thread.

    Raises InvalidRequest when there are more rows than a sheet takes, and what `pieces` raises.
    """
    with await asyncio.to_thread(tempfile.TemporaryFile) as target:
        sheet = await asyncio.to_thread(_Sheet, target, layout)
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

    def __init__(self, target: IO[bytes], layout: Layout) -> None:
        self._workbook: Any = xlsxwriter.Workbook(target, _PLAIN)
        self._sheet = self._workbook.add_worksheet(layout.title)
        self._sheet.freeze_panes(1, 0)
        self._values = attrgetter(*layout.columns)
        bold = self._workbook.add_format({"bold": True})
        for column, (name, width) in enumerate(zip(layout.columns, layout.widths, strict=True)):
            self._sheet.set_column(column, column, width)
            self._sheet.write_string(0, column, name, bold)
        self._next = 1

    def write(self, rows: Sequence[Struct]) -> None:
        """Append rows. Raises InvalidRequest when the sheet is full."""
        if self._next + len(rows) > MAX_SHEET_ROWS:
            raise InvalidRequest(f"an XLSX sheet takes {MAX_SHEET_ROWS - 1} rows; filter, or take CSV", "format")
        text, number = self._sheet.write_string, self._sheet.write_number
        for at, row in enumerate(rows, self._next):
            for column, value in enumerate(self._values(row)):
                if type(value) is str:
                    text(at, column, _NOT_XML.sub("\ufffd", value))
                else:
                    number(at, column, value)
        self._next += len(rows)

    def close(self) -> None:
        """Finish the file."""
        self._workbook.close()
