"""Rows of an uploaded file, one at a time: CSV as text, XLSX by its first sheet, told by name and content together.

Owns recognising and reading; knows no column and no rule of the shop. A file is never in memory as a whole.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO, Final

from msgspec import Struct

from inventory.bulk.workbook import workbook_rows
from inventory.refusals import TooManyRows, UnsupportedFile

Cell = str | int | float | bool | datetime.date | datetime.time | datetime.timedelta | None

MAX_COLUMNS: Final = 100
MAX_CELL: Final = 4_096
"""Characters of one CSV field: an unclosed quote would otherwise make one field of the rest of the file."""

_ZIP: Final = b"PK\x03\x04"
_BINARY: Final = (b"\xd0\xcf\x11\xe0", b"%PDF", b"PK\x05\x06", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"\x89PNG")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS: Final = ",;\t"


class Record(Struct, frozen=True):
    """One row as it stands in the file."""

    number: int
    """As a spreadsheet counts: the first row is 1."""
    cells: list[Cell]
    broken: str = ""
    """Why the rest of the file cannot be read; nothing follows."""
    surplus: bool = False
    """Text with more values in this row than the header has columns: nobody can say which value stands where."""


def read_records(file: BinaryIO, name: str, max_rows: int) -> Iterator[Record]:
    """Every row that is not blank, the header first.

    Raises UnsupportedFile at the first row when the file is not what its name says, is no CSV or XLSX, or is made to
    do harm; TooManyRows as soon as more than `max_rows` rows follow the header.
    """
    records = _xlsx(file, max_rows) if is_xlsx(file, name) else _csv(file)
    for before, record in enumerate(records):
        # The header is one of those before.
        if before > max_rows:
            raise TooManyRows(f"At most {max_rows} rows; split the file.")
        yield record


def is_xlsx(file: BinaryIO, name: str) -> bool:
    """True for a workbook, False for text. Raises UnsupportedFile for anything else, or when the name says other."""
    file.seek(0)
    start = file.read(4_096)
    file.seek(0)
    kind = PurePath(name).suffix.lower()
    if kind not in {".csv", ".xlsx"}:
        raise UnsupportedFile("The name of the file must end in .csv or .xlsx.")
    if kind == ".xlsx":
        if not start.startswith(_ZIP):
            raise UnsupportedFile("The file is named .xlsx, but is no Excel workbook.")
        return True
    if start.startswith(_ZIP):
        raise UnsupportedFile("The file is named .csv, but is an Excel workbook or another archive.")
    if start.startswith(_UTF_16):
        raise UnsupportedFile("The file is UTF-16 text; save it as CSV UTF-8.")
    if start.startswith(_BINARY) or b"\0" in start:
        raise UnsupportedFile("The file is named .csv, but is no text.")
    return False


def _xlsx(file: BinaryIO, max_rows: int) -> Iterator[Record]:
    for number, cells in workbook_rows(file, max_rows, MAX_COLUMNS):
        if any(cell not in {"", None} for cell in cells):
            yield Record(number, cells)


def _csv(file: BinaryIO) -> Iterator[Record]:
    # What is no UTF-8 becomes lone surrogates, which the cell that holds them is reported for.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        delimiter = _delimiter(text.readline(64 * 1024))
        text.seek(0)
        csv.field_size_limit(MAX_CELL)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        number = width = 0
        try:
            for cells in reader:
                number += 1
                if len(cells) > MAX_COLUMNS:
                    yield Record(number, [], f"more than {MAX_COLUMNS} columns")
                    return
                if any(cells):
                    width = width or _width(cells)
                    yield Record(number, list(cells), surplus=_width(cells) > width)
        except csv.Error as error:
            # Where a quote is wrong, nobody can say where the next row begins.
            yield Record(number + 1, [], f"the text from here on cannot be read as CSV: {error}")
    finally:
        text.detach()


def _width(cells: list[str]) -> int:
    """How many cells there are up to the last that is not blank."""
    return max((place for place, cell in enumerate(cells, 1) if cell.strip(" ")), default=0)


def _delimiter(header: str) -> str:
    """The separator that the header has most of, outside quotes; a comma when it has none."""
    bare = "".join(header.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)
