"""Which columns a file has, and what stands in a cell: the rules that every row of an import must keep.

Owns the rules and the codes of what breaks them; never looks at the stock.
"""

from __future__ import annotations

import re
from typing import Final

from inventory.bulk.sheets import Cell, Record
from persistence.queries.imports import RowError

MAX_NOTE: Final = 500
FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How text begins that a spreadsheet takes for a formula, some of them in wide letters too. The export puts an
apostrophe in front of it; also of what has one already, so that taking one away gives the text back."""

_WHOLE = re.compile(r"-?[0-9]+\Z")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class CellError(Exception):
    """This cell cannot be taken; `code` as the contract has it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Columns:
    """Where in a row each column stands; found in the header, whatever its order and case.

    `names`: the columns that may be there, each with the other names it goes by. `needed`: those that must be. Columns
    of other names are passed over, so that an exported file can be imported as it is.
    """

    def __init__(self, header: Record, names: dict[str, tuple[str, ...]], needed: tuple[str, ...]) -> None:
        self.errors: list[RowError] = []
        self._place: dict[str, int] = {}
        titles = [str(cell).strip().casefold() for cell in header.cells]
        if header.broken:
            self.errors.append(RowError(header.number, "", "bad-csv", header.broken))
        for name, others in names.items():
            found = next((title for title in (name, *others) if title in titles), None)
            if found is not None:
                self._place[name] = titles.index(found)
                if titles.count(found) > 1:
                    message = f"There are several columns called {found}."
                    self.errors.append(RowError(header.number, name, "duplicate-column", message))
            elif name in needed:
                message = f"There is no column {' or '.join((name, *others))}."
                self.errors.append(RowError(header.number, name, "missing-column", message))

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def cell(self, record: Record, name: str) -> Cell:
        """What stands in this column; None for nothing."""
        place = self._place.get(name)
        if place is None or place >= len(record.cells):
            return None
        cell = record.cells[place]
        return None if isinstance(cell, str) and not cell.strip(" ") else cell


def no_header() -> Record:
    """The header of a file that has none."""
    return Record(1, [])


def text_of(cell: Cell, most: int) -> str:
    """The text of a cell without spaces around it, and without the apostrophe that an export has put before it.

    Raises CellError: `bad-encoding` for what was no UTF-8, `bad-text` for control characters, too much, or a cell that
    is no text (a date, a fraction).
    """
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        raise CellError("bad-text", "This must be text.")
    if not isinstance(cell, str):
        return str(whole_of(cell, "bad-text"))
    text = cell.strip(" ")
    if text[:1] == "'" and FORMULA.match(text, 1):
        text = text[1:]
    if _SURROGATE.search(text):
        raise CellError("bad-encoding", "This is not UTF-8; save the file as CSV UTF-8.")
    if _CONTROL.search(text):
        raise CellError("bad-text", "Control characters are not allowed.")
    if len(text) > most:
        raise CellError("bad-text", f"At most {most} characters.")
    return text


def number_of(cell: Cell, least: int, most: int) -> int:
    """The whole number in a cell, digits only, as text or as a number of the workbook.

    Raises CellError: `bad-number` for anything but a whole number, or a negative one where none may be; `out-of-range`
    for one beyond `least` or `most`.
    """
    if cell is None:
        raise CellError("bad-number", "There is no number here.")
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        raise CellError("bad-number", "This is not a whole number.")
    if isinstance(cell, str):
        text = cell.strip(" ")
        if _SURROGATE.search(text):
            raise CellError("bad-encoding", "This is not UTF-8; save the file as CSV UTF-8.")
        if not _WHOLE.match(text):
            raise CellError("bad-number", f"This is not a whole number: {text[:40]!r}.")
        # Nothing longer can be in range, and Python refuses to read numbers of thousands of digits.
        number = int(text) if len(text) <= 20 else (most + 1) * (-1 if text[0] == "-" else 1)
    else:
        number = whole_of(cell, "bad-number")
    if number < 0 <= least:
        raise CellError("bad-number", f"This must be a whole number from {least}, not {number}.")
    if not least <= number <= most:
        raise CellError("out-of-range", f"This must be from {least} to {most}.")
    return number


def whole_of(cell: int | float, code: str) -> int:
    """The whole number that a workbook's number is. Raises CellError with `code` for a fraction or none at all."""
    # Written so that infinity and nan fall through; beyond 2**53 a float is no longer the number somebody typed.
    if isinstance(cell, float) and not (abs(cell) <= 2**53 and cell.is_integer()):
        raise CellError(code, f"This is not a whole number: {cell}.")
    return int(cell)
