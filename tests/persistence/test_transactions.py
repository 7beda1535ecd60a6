"""The ledger's lists: each filter, order, pages that neither miss nor repeat, cursors that can't be bent."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from persistence.database import Database
from persistence.pages import InvalidCursor
from persistence.queries import transactions
from persistence.queries.transactions import TransactionFilter
from tests.persistence.conftest import NOON, LedgerFiller


async def seqs(database: Database, **filters: object) -> list[int]:
    found = await transactions.page(database, TransactionFilter(**filters))  # type: ignore[arg-type]
    return [row.seq for row in found.items]


async def test_each_filter(database: Database, fill: LedgerFiller) -> None:
    a = fill("A", 10, reference=("Delivery", "D1"))
    b = fill("B", 5, "RETURN", ("Order", "o1"), "key_x")
    c = fill("A", -2, "OUT", ("Order", "o1"), "storefront", "f" * 36)
    d = fill("A", -1, "DAMAGE")
    assert await seqs(database) == [d, c, b, a]
    assert await seqs(database, sku="A") == [d, c, a]
    assert await seqs(database, transaction_type="OUT") == [c]
    assert await seqs(database, transaction_type="DAMAGE") == [d]
    assert await seqs(database, reference_type="Order", reference_id="o1") == [c, b]
    assert await seqs(database, reference_type="Delivery") == [a]
    assert await seqs(database, created_by="key_x") == [b]
    assert await seqs(database, from_time=NOON + timedelta(seconds=b)) == [d, c, b]
    assert await seqs(database, to_time=NOON + timedelta(seconds=b)) == [a]
    assert await seqs(database, sku="A", transaction_type="OUT", created_by="admin") == []
    (row,) = (await transactions.page(database, TransactionFilter(transaction_type="OUT"))).items
    assert (row.previous_stock, row.quantity, row.new_stock) == (10, -2, 8)
    assert (row.reservation_id, row.reason, row.created_at) == ("f" * 36, "why", NOON + timedelta(seconds=c))
    (plain,) = (await transactions.page(database, TransactionFilter(transaction_type="DAMAGE"))).items
    assert (plain.reference_type, plain.reference_id) == (None, None)


async def test_pages_neither_miss_nor_repeat(database: Database, fill: LedgerFiller) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    # Many rows of one moment, as a batch makes them, so that the id has to break the ties.
    for _ in range(120):
        fill(chance.choice("AB"), 1, seconds=chance.randint(0, 5))
    everything: list[int] = []
    cursor = None
    while True:
        found = await transactions.page(database, TransactionFilter(), 7, cursor)
        everything += [row.id for row in found.items]
        cursor = found.next_cursor
        if cursor is None:
            break
        assert len(found.items) == 7
    assert len(everything) == len(set(everything)) == 120


async def test_rows_that_come_in_between_do_not_shift_a_page(database: Database, fill: LedgerFiller) -> None:
    for _ in range(6):
        fill("A", 1)
    first = await transactions.page(database, TransactionFilter(sku="A"), 3)
    fill("A", 1)
    second = await transactions.page(database, TransactionFilter(sku="A"), 3, first.next_cursor)
    assert [row.seq for row in (*first.items, *second.items)] == [6, 5, 4, 3, 2, 1]
    assert second.next_cursor is None


async def test_the_rows_of_one_event(database: Database, fill: LedgerFiller) -> None:
    seq = fill("A", 4)
    (row,) = await transactions.of_event(database, 0, 1, seq)
    assert (row.sku, row.quantity, row.seq, row.line) == ("A", 4, seq, 0)
    assert await transactions.of_event(database, 0, 1, seq + 1) == ()


async def test_a_bent_cursor_is_refused(database: Database, fill: LedgerFiller) -> None:
    for _ in range(4):
        fill("A", 1)
    cursor = (await transactions.page(database, TransactionFilter(sku="A"), 2)).next_cursor
    assert cursor is not None
    bent = [
        "", "x", "AAAA", cursor[:-1], cursor + "A", cursor + "=", cursor[::-1], cursor.swapcase(), "é" * 9,
        " " + cursor, cursor + "\n", "A" * 5_000, cursor[:5] + ("A" if cursor[5] != "A" else "B") + cursor[6:],
    ]  # fmt: skip
    for wrong in bent:
        with pytest.raises(InvalidCursor):
            await transactions.page(database, TransactionFilter(sku="A"), 2, wrong)
    with pytest.raises(InvalidCursor):
        await transactions.page(database, TransactionFilter(sku="B"), 2, cursor)


@pytest.mark.parametrize("limit", [0, -1, 501, 10**9])
async def test_a_limit_out_of_bounds_is_refused(database: Database, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        await transactions.page(database, TransactionFilter(), limit)


@pytest.mark.parametrize("text", ["'; DROP TABLE inventory_transactions; --", "%", "\\", "A' OR '1'='1", "{}"])
async def test_sql_in_a_filter_is_only_text(database: Database, fill: LedgerFiller, text: str) -> None:
    fill("A", 1)
    assert await seqs(database, sku=text) == []
    assert await seqs(database, reference_id=text) == []
    assert await seqs(database) == [1]


async def test_every_selective_filter_pages_by_its_index(database: Database, database_url: str) -> None:
    """A page reads as many rows as it shows, whatever lies before or after: the plan has no sort and no long scan."""
    import psycopg

    from persistence.database_url import psycopg_url

    with psycopg.connect(psycopg_url(database_url), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition,"
            " epoch, line, sku, transaction_type, reference_type, reference_id, created_by)"
            " SELECT n, -1, 1, 0, '2026-01-01'::timestamptz + n * interval '1 second', 0, 1, 0, 'S' || n % 50,"
            " CASE WHEN n % 1000 = 0 THEN 'DAMAGE' ELSE 'OUT' END, 'Order', 'o' || n % 7, 'key_' || n % 40"
            " FROM generate_series(1, 30000) n"
        )
        connection.execute("ANALYZE inventory_transactions")
        for condition in (
            "sku = 'S7'",
            "reference_id = 'o3' AND reference_type = 'Order'",
            "created_by = 'key_3'",
            "transaction_type = 'DAMAGE'",
            "created_at >= '2026-01-01' AND created_at < '2026-01-02'",
            "true",
        ):
            plan = "\n".join(
                str(line)
                for (line,) in connection.execute(
                    f"EXPLAIN (COSTS OFF) SELECT * FROM inventory_transactions WHERE {condition}"
                    " AND (created_at, id) < ('2026-01-01 06:00:00+00', 20000)"
                    " ORDER BY created_at DESC, id DESC LIMIT 51"
                )
            )
            assert "Index Scan Backward" in plan, f"{condition}\n{plan}"
            assert "Sort" not in plan, f"{condition}\n{plan}"
