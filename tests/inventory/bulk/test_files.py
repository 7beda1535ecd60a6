"""Files as they come: what is read, what is refused, and at what cost. No server is needed to say no."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from typing import Any

import pytest
import xlsxwriter

from inventory.bulk.columns import CellError, number_of, text_of
from inventory.bulk.sheets import Record, read_records
from inventory.export_files import harmless
from inventory.refusals import TooManyRows, UnsupportedFile
from tests.inventory.bulk.workbooks import MAIN, cell, row, sheet, workbook


def rows(content: str | bytes, name: str = "stock.csv", max_rows: int = 100) -> list[Record]:
    data = content.encode() if isinstance(content, str) else content
    return list(read_records(io.BytesIO(data), name, max_rows))


def cells(content: str | bytes, name: str = "stock.csv") -> list[tuple[int, list[Any]]]:
    return [(record.number, record.cells) for record in rows(content, name)]


class TestCsv:
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_dialects(self, separator: str, end: str, mark: str) -> None:
        text = mark + end.join([f"sku{separator}quantity", f'"A {separator}1"{separator}5', "", f"B{separator}6"])
        assert cells(text) == [(1, ["sku", "quantity"]), (2, [f"A {separator}1", "5"]), (4, ["B", "6"])]

    def test_separators_inside_quotes_do_not_count(self) -> None:
        assert cells('"sku;a;b;c",quantity\nA,5\n') == [(1, ["sku;a;b;c", "quantity"]), (2, ["A", "5"])]

    def test_a_quoted_line_end_is_one_row(self) -> None:
        assert cells('sku,note\nA,"two\nlines"\nB,x\n') == [
            (1, ["sku", "note"]), (2, ["A", "two\nlines"]), (3, ["B", "x"]),
        ]  # fmt: skip

    def test_nothing_and_only_blanks(self) -> None:
        assert cells("") == []
        assert cells("\n\n,\n") == []
        assert cells("\ufeff") == []

    @pytest.mark.parametrize("text", ['sku,quantity\n"A,5\nB,6\n', 'sku,quantity\n"A"x,5\n', "sku\n" + "x" * 5_000])
    def test_what_cannot_be_read_ends_it(self, text: str) -> None:
        *_, last = rows(text)
        assert last.broken

    def test_bytes_that_are_no_text_are_kept_for_the_cell_to_be_reported(self) -> None:
        (_, found) = rows(b"sku,quantity\nCaf\xe9,5\n")
        with pytest.raises(CellError) as refused:
            text_of(found.cells[0], 64)
        assert refused.value.code == "bad-encoding"

    def test_too_many_columns(self) -> None:
        assert rows(",".join("x" * 101))[0].broken


class TestNamesAndContents:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("stock", b"sku\n"), ("stock.txt", b"sku\n"), ("stock.xls", b"sku\n"), ("stock.csv.exe", b"sku\n"),
            ("stock.xlsx", b"sku,quantity\nA,5\n"), ("stock.xlsx", b""), ("stock.xlsx", b"PK\x03\x04"),
            ("stock.xlsx", b"PK\x03\x04" + bytes(5_000)), ("stock.csv", b"PK\x03\x04"), ("stock.csv", b"PK\x05\x06"),
            ("stock.csv", b"\xff\xfes\x00k\x00u\x00"), ("stock.csv", b"\xfe\xff\x00s"), ("stock.csv", b"sku\x00"),
            ("stock.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), ("stock.csv", b"%PDF-1.7"),
        ],
    )  # fmt: skip
    def test_refused(self, name: str, content: bytes) -> None:
        with pytest.raises(UnsupportedFile):
            rows(content, name)

    def test_an_archive_that_is_no_workbook(self) -> None:
        kept = io.BytesIO()
        with zipfile.ZipFile(kept, "w") as archive:
            archive.writestr("readme.xml", "<x/>")
        with pytest.raises(UnsupportedFile):
            rows(kept.getvalue(), "stock.xlsx")


class TestWorkbooks:
    def test_cells_as_they_are(self) -> None:
        content = workbook(
            sheet(
                row(2, cell("A2", "sku", "str"), cell("B2", "5")),
                row(5, cell("A5", "x", "str"), cell("B5", "5.5"), cell("C5", "1", "b"), cell("D5", "#REF!", "e")),
            )
        )
        assert cells(content, "s.xlsx") == [(2, ["sku", 5.0, "", ""]), (5, ["x", 5.5, True, ""])]

    def test_rows_count_from_the_top_of_the_sheet(self) -> None:
        kept = io.BytesIO()
        with xlsxwriter.Workbook(kept) as book:
            page = book.add_worksheet()
            page.write_row(3, 2, ["sku", "quantity"])
            page.write_row(7, 2, ["A", 5])
        assert [number for number, _ in cells(kept.getvalue(), "s.xlsx")] == [4, 8]

    def test_the_first_sheet_counts(self) -> None:
        kept = io.BytesIO()
        with xlsxwriter.Workbook(kept) as book:
            for name in ("one", "two"):
                book.add_worksheet(name).write(0, 0, name)
        assert cells(kept.getvalue(), "s.xlsx") == [(1, ["one"])]

    @pytest.mark.parametrize(
        "document",
        [
            '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + sheet(row(1, cell("A1", "&e;", "str"))),
            '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + sheet(row(1, cell("A1", "&b;", "str"))),
            " " * 262_140 + "<!DOCTYPE x>" + sheet(row(1, cell("A1", "1"))),
        ],
    )
    def test_no_entity_is_ever_resolved(self, document: str) -> None:
        with pytest.raises(UnsupportedFile):
            rows(workbook(document), "s.xlsx")

    def test_an_entity_that_is_not_declared(self) -> None:
        with pytest.raises(UnsupportedFile):
            rows(workbook(sheet(row(1, cell("A1", "&e;", "str")))), "s.xlsx")

    @pytest.mark.parametrize(
        "reference", ['r="XFD1048576"', "r='XFD1048576'", 'r = "XFD1048576"', "r" + " " * 300_000 + '="XFD1048576"']
    )
    def test_two_cells_cannot_span_a_billion(self, reference: str) -> None:
        far = f'<row r="1048576"><c {reference}><v>1</v></c></row>'
        with pytest.raises(UnsupportedFile):
            rows(workbook(sheet(row(1, cell("A1", "1")), far)), "s.xlsx")

    @pytest.mark.parametrize(
        ("value", "code"),
        [("-1e308", "yyyy-mm-dd"), *((value, "[h]:mm:ss") for value in ("1e300", "-1e308", "1e400", "inf"))],
    )
    def test_a_time_that_no_clock_shows(self, value: str, code: str) -> None:
        styles = (
            f'<styleSheet xmlns="{MAIN}"><numFmts><numFmt numFmtId="164" formatCode="{code}"/></numFmts>'
            '<cellXfs><xf numFmtId="164"/></cellXfs></styleSheet>'
        )
        content = workbook(sheet(row(1, f'<c r="A1" s="0"><v>{value}</v></c>')), {"xl/styles.xml": styles})
        with pytest.raises(UnsupportedFile) as refused:
            rows(content, "stock.xlsx")
        assert "cannot be read" in refused.value.detail

    def test_a_row_of_cells_without_an_end(self) -> None:
        many = "<row>" + "<c><v>1</v></c>" * 200_000 + "</row>"
        far = row(1_000_000, cell("A1000000", "1"))
        with pytest.raises(UnsupportedFile):
            rows(workbook(sheet(many, far)), "s.xlsx")

    def test_a_bomb(self) -> None:
        with pytest.raises(UnsupportedFile) as refused:
            rows(workbook(sheet(" " * 60_000_000)), "s.xlsx")
        assert "unpacks" in refused.value.detail

    def test_a_bomb_that_lies_about_its_size(self) -> None:
        content = workbook(sheet(" " * 30_000_000))
        with pytest.raises(UnsupportedFile):
            rows(
                content.replace((30_000_000 + len(sheet())).to_bytes(4, "little"), (500).to_bytes(4, "little")),
                "s.xlsx",
            )

    def test_a_part_named_twice(self) -> None:
        with pytest.raises(UnsupportedFile), pytest.warns(UserWarning, match="Duplicate"):
            rows(workbook(sheet(), also={"xl/workbook.xml": "<x/>"}), "s.xlsx")

    def test_thousands_of_parts(self) -> None:
        with pytest.raises(UnsupportedFile):
            rows(workbook(sheet(), also={f"xl/{n}.xml": "" for n in range(600)}), "s.xlsx")

    def test_another_encoding(self) -> None:
        with pytest.raises(UnsupportedFile):
            rows(workbook(sheet(row(1, cell("A1", "1"))).encode("utf-16")), "s.xlsx")


class TestTooManyRows:
    def test_csv(self) -> None:
        assert len(rows("sku\n" + "A\n" * 100)) == 101
        with pytest.raises(TooManyRows):
            rows("sku\n" + "A\n" * 101)

    def test_the_rest_is_not_even_read(self) -> None:
        class Endless(io.RawIOBase):
            """A file that never ends, so that reading all of it would not either."""

            read_bytes = 0

            def readable(self) -> bool:
                return True

            def seekable(self) -> bool:
                return True

            def tell(self) -> int:
                return 0

            def seek(self, offset: int, whence: int = 0) -> int:
                return 0

            def readinto(self, buffer: Any) -> int:
                buffer[:] = (b"A,5\n" * (len(buffer) // 4 + 1))[: len(buffer)]
                self.read_bytes += len(buffer)
                return len(buffer)

        endless = Endless()
        with pytest.raises(TooManyRows):
            list(read_records(endless, "stock.csv", 1_000))  # type: ignore[arg-type]
        assert endless.read_bytes < 200_000

    def test_xlsx(self) -> None:
        content = workbook(sheet(*(row(n, cell(f"A{n}", "1")) for n in range(1, 203))))
        with pytest.raises(TooManyRows):
            rows(content, "s.xlsx")


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("5", 5), (" 5 ", 5), ("0", 0), ("007", 7), ("-5", -5), ("1000000000", 10**9), (5, 5), (5.0, 5), (-3.0, -3),
    ],
)  # fmt: skip
def test_numbers_that_are_taken(given: Any, number: int) -> None:
    assert number_of(given, -(10**9), 10**9) == number


@pytest.mark.parametrize(
    "given",
    [
        None, "", "five", "1.5", "5.0", "1e3", "0x10", "+5", "--5", "5-", "1,000", "1 000", "1_000", "\u0665", "\uff15",
        "\u00b2", "\u00bd",
        "NaN", "Infinity", "-", "5\x00", "5\n", "\t5", "\xa05", "=5", "'5", "true", "5;", 5.5, float("inf"),
        float("nan"), 2.0**54, True, False,
    ],
)  # fmt: skip
def test_numbers_that_are_none(given: Any) -> None:
    with pytest.raises(CellError) as refused:
        number_of(given, -(10**9), 10**9)
    assert refused.value.code == "bad-number"


@pytest.mark.parametrize(
    ("given", "least", "code"),
    [
        ("1000000001", 0, "out-of-range"), (10**9 + 1, 0, "out-of-range"), ("9" * 5_000, 0, "out-of-range"),
        ("-" + "9" * 5_000, -(10**9), "out-of-range"), ("9223372036854775808", 0, "out-of-range"),
        ("-1", 0, "bad-number"), (-1.0, 0, "bad-number"), ("-1000000001", -(10**9), "out-of-range"),
    ],
)  # fmt: skip
def test_numbers_out_of_bounds(given: Any, least: int, code: str) -> None:
    with pytest.raises(CellError) as refused:
        number_of(given, least, 10**9)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "text", ["=1", "'=1", "''=1", "-A", "'", "''", "'plain", "\uff1d1+1", "'\uff20x", "'90s mug", "a"]
)
def test_text_comes_back_from_an_export_as_it_was(text: str) -> None:
    written = harmless(text)
    assert text_of(written, 64) == text
    assert written[0] not in "=+-@\uff1d\uff0b\uff0d\uff20"


def test_text_as_an_export_writes_it() -> None:
    assert text_of("'-A", 64) == "-A"
    assert text_of("'=1+1", 64) == "=1+1"
    assert text_of("'plain", 64) == "'plain"
    assert text_of(1001.0, 64) == "1001"
    for bad in ("a\x00b", "x" * 65, 5.5, True, "\x85"):
        with pytest.raises(CellError):
            text_of(bad, 64)


_MEASURE = """
import asyncio, re, sys
from engine.results import StockLevel
from inventory.bulk.preview import preview
from inventory.context import Inventory, InventorySettings

class Levels:
    async def stock_levels(self, skus):
        return [StockLevel(sku, 7, 0, 0, 0, True) for sku in skus]

async def keep(rows):
    pass

with open(sys.argv[1], "rb") as file:
    inventory = Inventory(Levels(), None, None, InventorySettings())
    tally = asyncio.run(preview(inventory, file, sys.argv[1], "set", keep))
assert tally.rows == tally.valid == tally.changed, tally.errors
# Unlike getrusage, this forgets the program that started us.
print(tally.rows, re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.parametrize(("kind", "rows_of_file", "most_kb"), [("csv", 100_000, 25_000), ("xlsx", 50_000, 35_000)])
def test_memory_stays_flat(tmp_path: Any, kind: str, rows_of_file: int, most_kb: int) -> None:
    """Ten times the rows cost the SKUs that were seen, and in a workbook the cells of the sheet, never all its XML."""
    used = {}
    for count in (rows_of_file // 10, rows_of_file):
        path = tmp_path / f"{count}.{kind}"
        if kind == "csv":
            path.write_text("sku,quantity,note\n" + "".join(f"SKU-{n},{n + 8},counted\n" for n in range(count)))
        else:
            header = row(1, cell("A1", "sku", "str"), cell("B1", "quantity", "str"))
            body = (row(n, cell(f"A{n}", f"SKU-{n}", "str"), cell(f"B{n}", "5")) for n in range(2, count + 2))
            path.write_bytes(workbook(sheet(header, *body)))
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 0, done.stderr
        read, used[count] = map(int, done.stdout.split())
        assert read == count
    print(used)
    assert used[rows_of_file] - used[rows_of_file // 10] < most_kb
