"""The parts of a replay that need no service: reading, cleaning, planning, adding up, comparing."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from engine.limits import MAX_LINES
from runtime.replay.cleaning import Kind, Line, Mended, Skipped, clean
from runtime.replay.command import SAMPLE
from runtime.replay.comparison import Actual, Baseline, Stock, compare
from runtime.replay.independent_sum import Expected, add_up
from runtime.replay.order_file import OrderFileError, Row, read_rows
from runtime.replay.plan import MAX_DELIVERY, DamagePlan, OrderPlan, ReturnPlan, make_plan, names_of
from runtime.replay.session import clean_file
from runtime.service_client import Transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def row(**fields: str) -> Row:
    given = {"invoice": "536365", "code": "85123A", "description": "A MUG", "quantity": "6", "price": "2.55"}
    given |= {"date": "2010-12-01 08:26:00", "customer": "17850.0", **fields}
    return Row(number=2, **given)


def line(kind: Kind, invoice: str, sku: str, quantity: int, description: str = "A MUG", *, priced: bool = True) -> Line:
    return Line(kind, invoice, sku, quantity, "17850", description, priced, "2010-12-01", ())


class TestReading:
    def test_plain_and_packed_files_read_the_same(self, tmp_path: Path) -> None:
        text = HEADER + "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
        (tmp_path / "a.csv").write_text(text)
        (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
        assert read_rows(tmp_path / "a.csv") == read_rows(tmp_path / "b.csv.gz")
        assert read_rows(tmp_path / "a.csv")[0].customer == "17850.0"

    def test_the_other_edition_names_its_columns_otherwise(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("Invoice,StockCode,Quantity,Price,Customer ID\n489434,85048,12,6.95,13085\n")
        (read,) = read_rows(tmp_path / "a.csv")
        assert (read.invoice, read.price, read.customer, read.description) == ("489434", "6.95", "13085", "")

    def test_windows_1252_and_a_byte_order_mark_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes((HEADER + "1,2,CAFÉ £5,3,,,,\n").encode("cp1252"))
        (tmp_path / "b.csv").write_bytes((HEADER + "1,2,CAFÉ £5,3,,,,\n").encode("utf-8-sig"))
        assert [read_rows(tmp_path / name)[0].description for name in ("a.csv", "b.csv")] == ["CAFÉ £5"] * 2

    def test_short_and_empty_rows_do_not_stop_it(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text(HEADER + "\n,,,\n536365,85123A\n")
        (read,) = read_rows(tmp_path / "a.csv")
        assert (read.invoice, read.quantity) == ("536365", "")

    @pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\x1f\x8bnot gzip"])
    def test_what_is_no_order_file_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(OrderFileError):
            read_rows(tmp_path / "a.csv")


class TestCleaning:
    def test_a_sale(self) -> None:
        cleaned = clean(row())
        assert isinstance(cleaned, Line)
        assert (cleaned.kind, cleaned.sku, cleaned.quantity, cleaned.customer) == (Kind.SALE, "85123A", 6, "17850")
        assert cleaned.mended == ()

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"invoice": "C536379", "quantity": "-1"}, Kind.RETURN),
            ({"quantity": "-10", "customer": "", "price": "0.0"}, Kind.DAMAGE),
            ({"code": "gift_0001_40"}, Kind.SALE),
            ({"code": "DCGS0076"}, Kind.SALE),
            ({"quantity": "6.0"}, Kind.SALE),
        ],
    )
    def test_kinds(self, fields: dict[str, str], kind: Kind) -> None:
        cleaned = clean(row(**fields))
        assert isinstance(cleaned, Line)
        assert cleaned.kind == kind

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            *(({"code": code}, Skipped.SERVICE) for code in ("POST", "DOT", "M", "m", "BANK CHARGES", "AMAZONFEE")),
            ({"invoice": ""}, Skipped.NO_INVOICE),
            ({"code": ""}, Skipped.NO_CODE),
            ({"code": "85123A/B"}, Skipped.BAD_CODE),
            ({"code": "Ä1"}, Skipped.BAD_CODE),
            ({"code": "X" * 65}, Skipped.BAD_CODE),
            *(
                ({"quantity": bad}, Skipped.BAD_QUANTITY)
                for bad in ("", "six", "1.5", "1e3", "nan", "0x10", "--1", "½")
            ),
            ({"quantity": "0"}, Skipped.ZERO),
            ({"quantity": "-0"}, Skipped.ZERO),
            ({"quantity": "1000000001"}, Skipped.TOO_MANY),
            ({"quantity": "9" * 5000}, Skipped.BAD_QUANTITY),
            ({"invoice": "C1", "quantity": "5"}, Skipped.WRONG_SIGN),
        ],
    )
    def test_rows_that_move_no_stock(self, fields: dict[str, str], why: Skipped) -> None:
        assert clean(row(**fields)) == why

    def test_what_is_mended_is_named(self) -> None:
        cleaned = clean(row(code="85123a", customer="", description=""))
        assert isinstance(cleaned, Line)
        assert cleaned.sku == "85123A"
        assert set(cleaned.mended) == {Mended.CODE, Mended.GUEST, Mended.NO_NAME}
        assert cleaned.customer == "guest"


class TestPlanning:
    def test_a_sku_named_twice_is_summed(self) -> None:
        plan = make_plan([line(Kind.SALE, "1", "A", 2), line(Kind.SALE, "1", "B", 1), line(Kind.SALE, "1", "A", 3)])
        assert plan.work == (OrderPlan("1", 0, "17850", (("A", 5), ("B", 1))),)
        assert plan.summed_lines == 1

    def test_an_invoice_too_long_for_a_reservation_is_split(self) -> None:
        plan = make_plan([line(Kind.SALE, "1", f"S{number}", 1) for number in range(MAX_LINES + 1)])
        parts = [work for work in plan.work if isinstance(work, OrderPlan)]
        assert [(part.order_id, part.part, len(part.lines)) for part in parts] == [("1", 0, MAX_LINES), ("1", 1, 1)]
        assert plan.split_invoices == 1

    def test_large_returns_and_write_offs_go_in_portions(self) -> None:
        plan = make_plan([line(Kind.RETURN, "C1", "A", 2_500), line(Kind.DAMAGE, "2", "B", 1_001)])
        returns = [work.items for work in plan.work if isinstance(work, ReturnPlan)]
        damages = [work.quantity for work in plan.work if isinstance(work, DamagePlan)]
        assert returns == [(("A", 1_000),), (("A", 1_000),), (("A", 500),)]
        assert damages == [MAX_DELIVERY, 1]

    def test_names_come_from_priced_lines_by_majority(self) -> None:
        lines = [
            line(Kind.DAMAGE, "1", "A", 1, "damages", priced=False),
            line(Kind.DAMAGE, "2", "A", 1, "damages", priced=False),
            line(Kind.SALE, "3", "A", 1, "RED MUG"),
            line(Kind.DAMAGE, "4", "B", 1, "?", priced=False),
            line(Kind.SALE, "5", "C", 1, ""),
        ]
        assert names_of(lines) == {"A": "RED MUG", "B": "?", "C": "C"}

    def test_opening_stock_serves_any_order_of_events(self) -> None:
        lines = [line(Kind.RETURN, "C1", "A", 9), line(Kind.SALE, "2", "A", 4), line(Kind.DAMAGE, "3", "A", 3)]
        (product,) = make_plan(lines).products
        assert product.opening == 7
        assert add_up(lines).opening == {"A": 7}
        assert add_up(lines).change_of("A") == 9


@dataclass
class Played:
    expected: Expected
    baseline: Baseline
    counters: dict[str, Stock]
    levels: dict[str, Stock]
    rows: list[Transaction]

    def differences(self) -> dict[str, tuple[str, ...]]:
        comparison = compare(self.expected, self.baseline, Actual(self.counters, self.levels, self.rows))
        return {one.sku: one.differences for one in comparison.differing}

    def change(self, number: int, **fields: object) -> None:
        self.rows[number] = msgspec.structs.replace(self.rows[number], **fields)


@pytest.fixture
def played() -> Played:
    """A shop that had 10 of A already, after a play without a mistake."""
    lines = [
        line(Kind.SALE, "1", "A", 4),
        line(Kind.SALE, "2", "A", 2),
        line(Kind.RETURN, "C3", "A", 1),
        line(Kind.DAMAGE, "4", "B", 5),
    ]
    moves = [("A", "IN", 6, "replay"), ("B", "IN", 5, "replay"), ("A", "OUT", -4, "1"), ("A", "OUT", -2, "2")]
    moves += [("A", "RETURN", 1, "C3"), ("B", "DAMAGE", -5, "")]
    stock = Counter({"A": 10, "B": 0})
    rows = []
    for seq, (sku, kind, units, document) in enumerate(moves, start=100):
        rows.append(Transaction(seq, sku, kind, units, stock[sku], stock[sku] + units, "Order", document, seq))
        stock[sku] += units
    after = {"A": Stock(11, 2), "B": Stock(0, 0)}
    return Played(add_up(lines), Baseline({"A": Stock(10, 2)}, 99), dict(after), dict(after), rows)


class TestComparing:
    def test_agreement(self, played: Played) -> None:
        assert played.differences() == {}

    def test_a_tampered_counter_is_found(self, played: Played) -> None:
        played.counters["A"] = Stock(12, 2)
        assert any("counters: +2 instead of +1" in text for text in played.differences()["A"])

    def test_a_unit_still_held_is_found(self, played: Played) -> None:
        played.counters["A"] = Stock(11, 3)
        assert played.differences() == {"A": ("counters: +1 still reserved",)}

    def test_a_tampered_level_is_found(self, played: Played) -> None:
        played.levels["B"] = Stock(1, 0)
        assert played.differences() == {"B": ("levels: +1 instead of +0",)}

    def test_a_missing_ledger_row_is_found(self, played: Played) -> None:
        del played.rows[2]
        assert any("ledger OUT of 1: +0 instead of -4" in text for text in played.differences()["A"])

    def test_a_row_written_twice_is_found(self, played: Played) -> None:
        played.rows.append(played.rows[2])
        assert any("ledger OUT of 1: -8 instead of -4" in text for text in played.differences()["A"])

    def test_two_orders_whose_mistakes_cancel_out_are_found(self, played: Played) -> None:
        played.change(2, quantity=-3, new_stock=13)
        played.change(3, quantity=-3, previous_stock=13)
        assert len(played.differences()["A"]) == 2

    def test_a_sale_booked_as_something_else_is_found(self, played: Played) -> None:
        played.change(5, transaction_type="ADJUSTMENT")
        assert len(played.differences()["B"]) == 2

    def test_a_broken_chain_of_balances_is_found(self, played: Played) -> None:
        played.change(4, previous_stock=11, new_stock=12)
        assert any("does not follow" in text for text in played.differences()["A"])

    def test_a_sku_that_vanished_is_found(self, played: Played) -> None:
        del played.counters["A"]
        assert "A" in played.differences()


def test_the_sample_holds_what_its_readme_says() -> None:
    rows, lines, dirt = clean_file(SAMPLE)
    plan, expected = make_plan(lines), add_up(lines)
    assert rows == 6_074
    assert SAMPLE.stat().st_size <= 150_000
    assert {type(work) for work in plan.work} == {OrderPlan, ReturnPlan, DamagePlan}
    assert dirt[Mended.GUEST]
    assert dirt[Mended.CODE]
    assert dirt[f"left out: {Skipped.SERVICE}"]
    assert {"GIFT_0001_40", "DCGS0076"} <= set(expected.skus)
    assert plan.summed_lines > 100
    # Two ways of adding up, one answer.
    assert {product.sku: product.opening for product in plan.products} == expected.opening
    sold = Counter(dict.fromkeys(expected.skus, 0))
    for work in plan.work:
        if isinstance(work, OrderPlan):
            sold.update(dict(work.lines))
    assert all(sold[sku] == -expected.by_type.get((sku, "OUT"), 0) for sku in expected.skus)
