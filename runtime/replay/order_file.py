"""Reading an Online Retail order file: CSV, plain or gzipped, UTF-8 or Windows-1252, either edition's column names.

Owns the file format; never judges what stands in a row (see cleaning.py).
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "invoice": ("InvoiceNo", "Invoice"),
    "code": ("StockCode",),
    "description": ("Description",),
    "quantity": ("Quantity",),
    "date": ("InvoiceDate",),
    "price": ("UnitPrice", "Price"),
    "customer": ("CustomerID", "Customer ID"),
}
REQUIRED: Final = ("invoice", "code", "quantity")
MAX_BYTES: Final = 512 * 1024 * 1024
"""Unpacked. The whole two-year data set is a quarter of this."""


class OrderFileError(Exception):
    """The file is no order file; the message says why."""


class Row(Struct, frozen=True):
    """A row as it stands in the file, all text, ends stripped; empty where the column is missing."""

    number: int
    """Line of the file, as an editor counts; the header is 1."""
    invoice: str
    code: str
    description: str
    quantity: str
    date: str
    price: str
    customer: str


def read_rows(path: Path) -> list[Row]:
    """Every row of the file. Raises OrderFileError."""
    try:
        text = _text(path)
        return list(_rows(text))
    except csv.Error as error:
        raise OrderFileError(f"{path.name} is not a CSV file: {error}") from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise OrderFileError(f"cannot read {path}: {error}") from error
    if len(data) > MAX_BYTES:
        raise OrderFileError(f"{path.name} unpacks to more than {MAX_BYTES // 2**20} MB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # The data set's own edition is in Windows-1252, and its five unassigned bytes do not occur in it.
        return data.decode("cp1252", errors="replace")


def _places(header: Sequence[str]) -> dict[str, int]:
    names = [name.strip() for name in header]
    places = {}
    for field, spellings in COLUMNS.items():
        for spelling in spellings:
            if spelling in names:
                places[field] = names.index(spelling)
    missing = [COLUMNS[field][0] for field in REQUIRED if field not in places]
    if missing:
        raise OrderFileError(f"the first line names no column {', '.join(missing)}; found {', '.join(names)[:200]}")
    return places


def _rows(text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next(reader, None)
    if header is None:
        raise OrderFileError("the file is empty")
    places = _places(header)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        found = {field: cells[place].strip() if place < len(cells) else "" for field, place in places.items()}
        yield Row(number=reader.line_num, **{field: found.get(field, "") for field in COLUMNS})
