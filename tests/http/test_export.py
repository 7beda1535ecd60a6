"""GET /inventory/export: every row, live, filtered, harmless, streamed; a failure never looks like a whole file."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from python_calamine import CalamineWorkbook

import inventory.export
from engine.errors import Disconnected
from inventory.export import ExportFilter
from inventory.export_files import harmless
from persistence.database_url import psycopg_url
from tests.http.conftest import Shop, assert_problem
from tests.http.running import RunningService

EXPORT = "/inventory/export"
COLUMNS = ["sku", "name", "category", "on_hand", "reserved", "available", "low_stock_threshold", "status"]


class Shelf:
    """Products of one category of this test alone."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.category = f"c-{uuid.uuid4().hex[:10]}"

    def put(self, sku: str, name: str = "A thing", stock: int = 10, **more: Any) -> str:
        body = {"name": name, "category": self.category, "initial_stock": stock, **more}
        self.shop.as_("operator").put(f"/inventory/products/{sku}", json=body).raise_for_status()
        return sku

    def get(self, who: str = "auditor", **params: Any) -> httpx.Response:
        return self.shop.as_(who).get(EXPORT, params={"category": self.category, **params})

    def rows(self, **params: Any) -> list[dict[str, str]]:
        answer = self.get(**params)
        assert answer.status_code == 200, answer.text
        return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))

    def sheet(self, **params: Any) -> list[list[Any]]:
        answer = self.get(format="xlsx", **params)
        assert answer.status_code == 200, answer.text
        return CalamineWorkbook.from_filelike(io.BytesIO(answer.content)).get_sheet_by_index(0).to_python()


@pytest.fixture
def shelf(one_shop: Shop) -> Shelf:
    return Shelf(one_shop)


def name_of(shelf: Shelf, letter: str) -> str:
    return f"{letter}-{shelf.category}"


def test_every_column_live(shelf: Shelf) -> None:
    a = shelf.put(name_of(shelf, "A"), "Red mug, large", 10, low_stock_threshold=5, safety_stock=1)
    b = shelf.put(name_of(shelf, "B"), 'The "blue" one\u2028é', 3, low_stock_threshold=5)
    c = shelf.put(name_of(shelf, "C"), "None left", 0)
    shelf.shop.reserve(a, 2)
    answer = shelf.get()
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"].startswith('attachment; filename="inventory-2')
    assert answer.headers["content-disposition"].endswith('.csv"')
    assert answer.headers["holdfast-rows-at-most"] == "3"
    assert answer.content.splitlines()[0] == ",".join(COLUMNS).encode()
    assert [list(row.values()) for row in shelf.rows()] == [
        [a, "Red mug, large", shelf.category, "10", "2", "7", "5", "IN_STOCK"],
        [b, 'The "blue" one\u2028é', shelf.category, "3", "0", "3", "5", "LOW_STOCK"],
        [c, "None left", shelf.category, "0", "0", "0", "0", "OUT_OF_STOCK"],
    ]
    sheet = shelf.sheet()
    assert sheet[0] == COLUMNS
    assert sheet[1] == [a, "Red mug, large", shelf.category, 10, 2, 7, 5, "IN_STOCK"]
    assert len(sheet) == 4
    workbook = shelf.get(format="xlsx")
    assert workbook.headers["content-type"].endswith("spreadsheetml.sheet")
    assert workbook.headers["content-disposition"].endswith('.xlsx"')
    assert workbook.headers["x-content-type-options"] == "nosniff"


def test_filters(shelf: Shelf) -> None:
    a, b, c, d = (name_of(shelf, letter) for letter in "ABCD")
    shelf.put(a, stock=0)
    shelf.put(b, stock=3, low_stock_threshold=5)
    shelf.put(c, stock=50, low_stock_threshold=5)
    shelf.put(d, stock=7, status="inactive")

    def skus(**params: Any) -> list[str]:
        found = [row["sku"] for row in shelf.rows(**params)]
        assert [row[0] for row in shelf.sheet(**params)[1:]] == found
        return found

    assert skus() == [a, b, c, d]
    assert skus(status="OUT_OF_STOCK") == [a]
    assert skus(status="LOW_STOCK") == [b]
    assert skus(status="IN_STOCK") == [c, d]
    assert skus(status="active") == [a, b, c]
    assert skus(status="inactive") == [d]
    assert skus(min_available=3) == [b, c, d]
    assert skus(max_available=7) == [a, b, d]
    assert skus(min_available=4, max_available=7) == [d]
    assert skus(min_available=8, max_available=7) == []
    assert skus(category="nobody's") == []
    assert len(skus()) == 4


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_formula_is_text(start: str) -> None:
    assert harmless(f"{start}1+1") == f"'{start}1+1"
    assert harmless(f"a{start}") == f"a{start}"
    assert harmless("") == ""


def test_formula_cells(shelf: Shelf) -> None:
    sku = shelf.put(f"-{shelf.category}", '=HYPERLINK("http://x","y")')
    shelf.category = "@SUM(A1)"
    shelf.put(sku, "+1")
    (row,) = [row for row in shelf.rows() if row["sku"] == f"'{sku}"]
    assert (row["name"], row["category"]) == ("'+1", "'@SUM(A1)")
    (cells,) = [row for row in shelf.sheet() if row[0] == sku]
    assert cells[1:3] == ["+1", "@SUM(A1)"]


def test_no_cell_of_the_workbook_is_a_formula_a_link_or_a_number_by_its_looks(shelf: Shelf) -> None:
    import zipfile

    shelf.put(name_of(shelf, "A"), "=1+1")
    shelf.put(name_of(shelf, "B"), "http://example.org/")
    shelf.put(f"007{shelf.category}", "0123")
    with zipfile.ZipFile(io.BytesIO(shelf.get(format="xlsx").content)) as workbook:
        sheet = workbook.read("xl/worksheets/sheet1.xml")
        assert b"<f>" not in sheet
        assert b"hyperlink" not in sheet
        assert b"=1+1" in sheet
    assert [row[1] for row in shelf.sheet()[1:]] == ["0123", "=1+1", "http://example.org/"]


@pytest.mark.parametrize(
    "params",
    [
        {"format": "pdf"},
        {"status": "LOST"},
        {"min_available": -1},
        {"min_available": "1e3"},
        {"max_available": 10**13},
        {"category": "a\x00b"},
        {"category": "x" * 256},
    ],
    ids=str,
)
def test_bad_filters(shelf: Shelf, params: dict[str, Any]) -> None:
    assert_problem(shelf.shop.as_("auditor").get(EXPORT, params=params), 422, "validation-error")


def test_more_than_one_piece(make_service: Callable[..., RunningService], monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(make_service(), "protocol")
    engine = shop.running.services.engine
    skus = [f"S{number:04}" for number in range(25)]
    for number, sku in enumerate(skus):
        body = {"name": sku, "initial_stock": number}
        shop.as_("operator").put(f"/inventory/products/{sku}", json=body).raise_for_status()
    with psycopg.connect(psycopg_url(shop.running.database_url), autocommit=True) as connection:
        connection.execute("INSERT INTO products (sku, name) VALUES ('S0007-NOT-YET-IN-THE-ENGINE', 'x')")
    monkeypatch.setattr(inventory.export, "PIECE", 5)
    reader = shop.as_("auditor")
    rows = list(csv.DictReader(io.StringIO(reader.get(EXPORT).text, newline="")))
    assert [(row["sku"], row["on_hand"], row["category"]) for row in rows] == [
        (sku, str(number), "") for number, sku in enumerate(skus)
    ]
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(reader.get(EXPORT, params={"format": "xlsx"}).content))
    assert len(sheet.get_sheet_by_index(0).to_python()) == 26

    # One piece at a time, and only when it is asked for.
    asked: list[Any] = []

    async def counted(some: Any) -> Any:
        asked.append(some)
        return await levels(engine, some)

    async def first_of(pieces: Any) -> Any:
        return await anext(pieces)

    levels = type(engine).stock_levels
    with monkeypatch.context() as patched:
        patched.setattr(type(engine), "stock_levels", lambda _, some: counted(some))
        pieces = inventory.export.export_rows(shop.running.services.inventory, ExportFilter())
        assert len(shop.running.run(lambda: first_of(pieces))) == 5
        assert [len(some) for some in asked] == [5]

    # Away from the first moment: 503. Away in the middle: the connection ends without the end of the file.
    real, calls = engine.stock_levels, []

    async def breaks(some: Any) -> Any:
        calls.append(some)
        if len(calls) > after:
            raise Disconnected("gone")
        return await real(some)

    monkeypatch.setattr(type(engine), "stock_levels", lambda _, some: breaks(some))
    after = 0
    assert_problem(reader.get(EXPORT), 503, "store-unavailable")
    assert_problem(reader.get(EXPORT, params={"format": "xlsx"}), 503, "store-unavailable")
    calls.clear()
    after = 3
    with pytest.raises(httpx.RemoteProtocolError):
        reader.get(EXPORT)
    calls.clear()
    assert_problem(reader.get(EXPORT, params={"format": "xlsx"}), 503, "store-unavailable")
    shop.close()


def test_a_full_sheet(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    from inventory import export_files

    for letter in "ABC":
        shelf.put(name_of(shelf, letter))
    monkeypatch.setattr(export_files, "MAX_SHEET_ROWS", 4)
    assert len(shelf.sheet()) == 4
    monkeypatch.setattr(export_files, "MAX_SHEET_ROWS", 3)
    document = assert_problem(shelf.get(format="xlsx"), 422, "validation-error")
    assert "CSV" in document["detail"]
    assert len(shelf.rows()) == 3
