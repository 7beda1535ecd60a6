"""Workbooks written by hand, XML and all, so that a test can write what no spreadsheet program would."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"

_LOCAL_HEADER = 30
"""Bytes of what stands before each part, its name left out."""

_PARTS = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPES}.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="rId1" Type="{_RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{MAIN}" xmlns:r="{_RELATION}">'
        '<sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="rId1" Type="{_RELATION}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}


def workbook(
    sheet_xml: str | bytes, also: Mapping[str, str] | None = None, *, method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """A workbook with this first sheet, and further parts."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", method) as archive:
        for name, text in _PARTS.items():
            archive.writestr(name, text)
        archive.writestr("xl/worksheets/sheet1.xml", sheet_xml)
        for name, text in (also or {}).items():
            archive.writestr(name, text)
    return kept.getvalue()


def sheet(*rows: str) -> str:
    """A sheet of these rows."""
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(rows)}</sheetData></worksheet>'


def row(number: int, *cells: str) -> str:
    """A row of these cells."""
    return f'<row r="{number}">{"".join(cells)}</row>'


def cell(reference: str, value: str, kind: str = "n") -> str:
    """A cell: kind n (number), str (text), b (boolean), e (error)."""
    return f'<c r="{reference}" t="{kind}"><v>{value}</v></c>'


def broken_stream(archive: bytes) -> bytes:
    """The archive, the packed bytes of its first part put out of order behind their header."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        first = opened.infolist()[0]
    begin = _LOCAL_HEADER + len(first.filename) + 9
    return archive[:begin] + b"\xff" * 20 + archive[begin + 20 :]


def far_away(archive: bytes) -> bytes:
    """The archive with a last part that begins, it says, behind more bytes than a file can have."""
    name = b"xl/more.xml"
    far = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    sizes = (20, 45, 0, 0, 0, 0, 0, 4, 4, len(name), len(far), 0, 0, 0, 0, 0xFFFFFFFF)
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *sizes) + name + far
    end = archive.rindex(b"PK\x05\x06")
    number, size, begin = struct.unpack("<HLL", archive[end + 10 : end + 20])
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, number + 1, number + 1, size + len(entry), begin, 0)
    return archive[:end] + entry + tail
