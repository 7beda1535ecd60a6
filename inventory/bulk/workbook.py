"""Rows of an Excel workbook's first sheet, after it was seen to be harmless.

Owns the checks against archives and sheets that are made to exhaust a machine, and their bounds; calamine reads what
is left. An XLSX is a zip of XML: a few kilobytes can unpack to gigabytes, two cells can span a billion, and a document
type can name files of this machine.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from python_calamine import CalamineError, CalamineWorkbook

from inventory.refusals import TooManyRows, UnsupportedFile

MAX_PARTS: Final = 500
"""Members of the archive."""
MAX_UNPACKED_BYTES: Final = 268_435_456
"""All members together, unpacked. A sheet of 200,000 rows with ten columns has about 100 MB."""
MAX_RATIO: Final = 200
"""How much larger than the archive the members may be; sheets of one repeated row reach about 60."""
MAX_SPANNED_CELLS: Final = 6_000_000
"""Cells of the rectangle that a sheet spans, filled or not: calamine keeps 24 bytes for each."""

_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Others fail in ways of their own, and LZMA takes as much memory as the archive tells it to."""

_PIECE: Final = 262_144
_TAIL: Final = 64
"""Bytes that pieces overlap by, so that no tag or reference is missed at a seam."""
_ALLOWED_SMALL: Final = 10_000_000
"""Bytes an archive may always unpack to, whatever the ratio."""

_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError, OverflowError,
)  # fmt: skip
"""What reading a damaged archive may raise."""
_HARMFUL = re.compile(rb"<!(?:DOCTYPE|ENTITY)|\s{17}=|=\s{17}", re.IGNORECASE)
"""A document type, or a reference stretched so far that it would slip through between two pieces."""
_TOKENS = re.compile(
    rb"""<(?:[\w.-]+:)?(?:(?P<row>row)|(?P<cell>c))(?=[\s/>])|\sr\s{0,16}=\s{0,16}["'](?P<column>[A-Za-z]{0,3})(?P<number>\d{1,9})["']"""
)


def workbook_rows(file: BinaryIO, max_rows: int, max_columns: int) -> Iterator[tuple[int, list[Any]]]:
    """Row number (the first is 1) and cells of each row of the first sheet, blank ones included.

    Whole numbers come as int or float, as the workbook has them; a formula as the value it had when it was saved; an
    error value as "". Raises UnsupportedFile, and TooManyRows when the sheet has more rows than `max_rows` and its
    header.
    """
    with tempfile.TemporaryFile() as checked:
        _copy_checked(file, checked, max_rows, max_columns)
        checked.seek(0)
        try:
            with CalamineWorkbook.from_filelike(checked) as workbook:
                sheet = workbook.get_sheet_by_index(0)
                # Begins at the top of the sheet, whatever stands there.
                yield from enumerate(sheet.iter_rows(), 1)
        except (CalamineError, IndexError, ValueError, OverflowError) as error:
            raise UnsupportedFile(f"The workbook cannot be read: {type(error).__name__}.") from error
        except BaseException as error:
            # How a panic of calamine arrives: below BaseException, and of a class that cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise UnsupportedFile("The workbook cannot be read: it holds a value beyond all bounds.") from error


def _copy_checked(file: BinaryIO, checked: Any, max_rows: int, max_columns: int) -> None:
    """Copy the archive part by part, each looked at: what calamine reads is exactly what was checked."""
    most = _most_bytes(file)
    unpacked = 0
    try:
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(checked, "w", zipfile.ZIP_STORED) as copy:
            members = _checked_members(archive, most)
            for member in members:
                # The chain of calculation lists every formula's cell again, and nobody here calculates.
                if not member.filename.endswith((".xml", ".rels")) or member.filename.endswith("/calcChain.xml"):
                    continue
                look = _PartCheck(max_rows, max_columns)
                with archive.open(member) as part, copy.open(member.filename, "w") as kept:
                    while piece := part.read(_PIECE):
                        unpacked += len(piece)
                        if unpacked > most:
                            raise _bomb()
                        look.at(piece)
                        kept.write(piece)
                look.done()
    except _DAMAGED as error:
        raise UnsupportedFile("The file is named .xlsx, but its archive is damaged.") from error


def _most_bytes(file: BinaryIO) -> int:
    """What the archive may unpack to."""
    packed = file.seek(0, 2)
    file.seek(0)
    return min(MAX_UNPACKED_BYTES, max(_ALLOWED_SMALL, packed * MAX_RATIO))


def _checked_members(archive: zipfile.ZipFile, most: int) -> list[zipfile.ZipInfo]:
    """What the archive says that it holds, if that can be a workbook of at most `most` bytes."""
    members = archive.infolist()
    if len(members) > MAX_PARTS:
        raise UnsupportedFile(f"The workbook has more than {MAX_PARTS} parts.")
    if len({member.filename.lower() for member in members}) != len(members):
        raise UnsupportedFile("The workbook names one of its parts twice.")
    if sum(member.file_size for member in members) > most:
        raise _bomb()
    if "xl/workbook.xml" not in {member.filename for member in members}:
        raise UnsupportedFile("The file is an archive, but no Excel workbook.")
    if any(member.flag_bits & 1 for member in members):
        raise UnsupportedFile("The workbook is encrypted.")
    if any(member.compress_type not in _METHODS for member in members):
        raise UnsupportedFile("The workbook is compressed in a way that no spreadsheet program uses.")
    return members


class _PartCheck:
    """What one XML part must not have: a document type, another encoding, a sheet that spans too much."""

    def __init__(self, max_rows: int, max_columns: int) -> None:
        self._max_rows = max_rows
        self._max_columns = max_columns
        self._tail = b""
        self._rows = 0
        self._last_row = 0
        self._columns = 0
        self._in_row = 0

    def at(self, piece: bytes) -> None:
        """Look at the next piece."""
        if b"\0" in piece or piece.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UnsupportedFile("The workbook has a part that is not UTF-8.")
        text = self._tail + piece
        if _HARMFUL.search(text):
            raise UnsupportedFile("The workbook has a document type or the like, which no spreadsheet program writes.")
        # What reaches into the last bytes may go on in the next piece, and is counted there.
        end = max(0, len(text) - _TAIL)
        seen = 0
        for match in _TOKENS.finditer(text):
            if match.start() >= end:
                break
            seen = match.end()
            self._count(match)
        self._tail = text[max(seen, end) :]

    def done(self) -> None:
        """Look at what the last piece has left."""
        for match in _TOKENS.finditer(self._tail):
            self._count(match)
        self._check()

    def _count(self, match: re.Match[bytes]) -> None:
        if match["row"]:
            self._rows += 1
            self._in_row = 0
        elif match["cell"]:
            self._in_row += 1
            self._columns = max(self._columns, self._in_row)
        else:
            self._last_row = max(self._last_row, int(match["number"]))
            self._columns = max(self._columns, _column(match["column"]))
            if self._columns > 16_384:
                raise UnsupportedFile("The workbook names a column that no spreadsheet has.")

    def _check(self) -> None:
        rows = max(self._rows, self._last_row)
        if rows > 1_048_576:
            raise UnsupportedFile("The workbook names a row that no spreadsheet has.")
        if self._rows > self._max_rows + 1 and self._columns <= self._max_columns:
            raise TooManyRows(f"At most {self._max_rows} rows; split the file.")
        if rows * self._columns > MAX_SPANNED_CELLS:
            raise UnsupportedFile("The sheet spans too many cells; leave only the rows to import on it.")


def _column(letters: bytes) -> int:
    """The number of a column: A is 1, Z 26, AA 27; 0 for none."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _bomb() -> UnsupportedFile:
    return UnsupportedFile("The workbook unpacks to far more than a spreadsheet of its size would.")


def unpacked_bytes(file: BinaryIO) -> int:
    """How large the archive says that its parts are. Raises UnsupportedFile when it can be no workbook."""
    most = _most_bytes(file)
    try:
        with zipfile.ZipFile(file) as archive:
            return sum(member.file_size for member in _checked_members(archive, most))
    except _DAMAGED as error:
        raise UnsupportedFile("The file is named .xlsx, but its archive is damaged.") from error
