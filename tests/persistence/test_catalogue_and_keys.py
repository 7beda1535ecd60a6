"""Products, API keys, what an order sold, and the state that readiness asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import text

from persistence.database import Database, DatabaseUnavailable
from persistence.queries import ledger_state, orders, products
from persistence.queries.api_keys import ApiKeys, KeyExists
from persistence.queries.products import ProductFilter, ProductSettings
from tests.persistence.conftest import LedgerFiller
from tests.waiting import eventually

RunSql = Callable[..., list[tuple[object, ...]]]


async def put(database: Database, sku: str, **fields: object) -> products.Product:
    given = products.ProductSettings(sku=sku, **{"name": f"name of {sku}", **fields})  # type: ignore[arg-type]
    return (await products.put_many(database, [given]))[sku]


async def test_put_creates_then_changes(database: Database) -> None:
    first = await put(database, "MUG", category="kitchen", low_stock_threshold=5)
    again = await put(database, "MUG", name="Mug", safety_stock=2)
    assert (first.category, first.low_stock_threshold) == ("kitchen", 5)
    assert (again.name, again.category, again.low_stock_threshold, again.safety_stock) == ("Mug", "kitchen", 5, 2)
    assert (first.status, again.status) == ("active", "active")
    assert again.created_at == first.created_at
    assert again.updated_at > first.updated_at
    assert await products.get(database, "MUG") == again
    assert await products.get(database, "CUP") is None


async def test_many_are_put_at_once(database: Database) -> None:
    await put(database, "MUG", category="kitchen")
    wanted = [
        ProductSettings(sku="TEAPOT", name="Teapot", low_stock_threshold=1, safety_stock=2, status="inactive"),
        ProductSettings(sku="MUG", name="Mug", category=False, low_stock_threshold=3),
    ]
    found = await products.put_many(database, wanted)
    assert found == await products.every(database)
    assert {sku: (one.name, one.category, one.low_stock_threshold, one.status) for sku, one in found.items()} == {
        "TEAPOT": ("Teapot", None, 1, "inactive"), "MUG": ("Mug", None, 3, "active"),
    }  # fmt: skip
    assert await products.put_many(database, []) == {}


@pytest.mark.parametrize("new", [True, False], ids=["a new product", "one that is there"])
async def test_two_writers_at_the_same_moment(database: Database, run_sql: RunSql, new: bool) -> None:
    """Each says something else of one product: what the other one said is kept."""
    columns = "sku, name, low_stock_threshold, safety_stock, status"
    make = f"INSERT INTO products ({columns}) VALUES ('MUG', 'Mug', 0, 0, 'active')"
    if not new:
        await put(database, "MUG")
    async with database.transaction() as first:
        await first.execute(text(make if new else "SELECT 1 FROM products FOR UPDATE"))
        second = asyncio.create_task(put(database, "MUG", safety_stock=3))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await eventually(lambda: run_sql(waiting), what="the second writer's waiting")
        await first.execute(text("UPDATE products SET category = 'kitchen', low_stock_threshold = 7"))
    left = await second
    assert (left.category, left.low_stock_threshold, left.safety_stock) == ("kitchen", 7, 3)


async def test_lists_of_products(database: Database) -> None:
    await put(database, "a1", category="x", low_stock_threshold=3)
    await put(database, "B2", category="x", status="inactive", name="100% wool_scarf")
    await put(database, "c3", name="Big \\ Bear")

    async def skus(**filters: object) -> list[str]:
        return [p.sku for p in (await products.page(database, ProductFilter(**filters))).items]  # type: ignore[arg-type]

    assert await skus() == ["B2", "a1", "c3"]
    assert await skus(category="x") == ["B2", "a1"]
    assert await skus(status="inactive") == ["B2"]
    assert await skus(q="A1") == ["a1"]
    assert await skus(q="bear") == ["c3"]
    assert await skus(q="%") == ["B2"]
    assert await skus(q="_") == ["B2"]
    assert await skus(q="\\") == ["c3"]
    first = await products.page(database, ProductFilter(), 2)
    second = await products.page(database, ProductFilter(), 2, first.next_cursor)
    assert [p.sku for p in second.items] == ["c3"]
    assert second.next_cursor is None
    assert set(await products.by_skus(database, ["a1", "c3", "none"])) == {"a1", "c3"}
    assert await products.by_skus(database, []) == {}
    assert await products.thresholds(database) == {"a1": 3}
    assert set(await products.every(database)) == {"B2", "a1", "c3"}


async def test_the_life_of_a_key(database: Database) -> None:
    keys = ApiKeys(database)
    made = await keys.create("key_1", name="shop", role="storefront", key_hash=b"h" * 32, created_by="admin")
    assert await keys.by_hash(b"h" * 32) == made
    assert await keys.active() == (made,)
    with pytest.raises(KeyExists):
        await keys.create("key_2", name="again", role="admin", key_hash=b"h" * 32, created_by="admin")
    assert await keys.revoke("key_1")
    (revoked,) = (await keys.page()).items
    assert revoked.revoked_at is not None
    assert await keys.revoke("key_1")
    assert (await keys.page()).items == (revoked,)
    assert await keys.active() == ()
    assert await keys.by_hash(b"h" * 32) is None
    assert not await keys.revoke("key_3")


async def test_pages_of_keys(database: Database) -> None:
    keys = ApiKeys(database)
    for n in range(5):
        await keys.create(f"key_{n}", name="n", role="auditor", key_hash=bytes([n]) * 32, created_by="admin")
    first = await keys.page(3)
    second = await keys.page(3, first.next_cursor)
    assert [k.id for k in (*first.items, *second.items)] == ["key_4", "key_3", "key_2", "key_1", "key_0"]


async def test_what_an_order_sold(database: Database, fill: LedgerFiller) -> None:
    fill("A", 10)
    fill("B", 10)
    fill("A", -3, "OUT", ("Order", "o1"), reservation_id="r1")
    fill("B", -1, "OUT", ("Order", "o1"), reservation_id="r1")
    fill("A", -2, "OUT", ("Order", "o1"), reservation_id="r2")
    fill("A", 1, "RETURN", ("Order", "o1"))
    fill("A", -1, "OUT", ("Order", "o2"), reservation_id="r3")
    order = await orders.ledger_of(database, "o1")
    assert order is not None
    assert not order.cancelled
    assert order.reservation_ids == ("r1", "r2")
    assert [(u.sku, u.sold, u.returned, u.put_back, u.outstanding) for u in order.units] == [
        ("A", 5, 1, 0, 4),
        ("B", 1, 0, 0, 1),
    ]
    fill("A", 4, "IN", ("Order", "o1"))
    fill("B", 1, "IN", ("Order", "o1"))
    order = await orders.ledger_of(database, "o1")
    assert order is not None
    assert order.cancelled
    assert [u.outstanding for u in order.units] == [0, 0]
    assert len(order.transactions) == 6
    assert await orders.ledger_of(database, "o9") is None


async def test_cursor_and_flusher_report(database: Database, run_sql: RunSql) -> None:
    found = await ledger_state.cursor(database)
    assert found is not None
    assert (found.epoch, found.seq, found.stream_id, found.partitions) == (1, 0, "0-0", 1)
    assert await ledger_state.cursor(database, 1) is None
    assert await ledger_state.flusher(database) is None
    insert = "INSERT INTO flusher_status VALUES (0, %s, %s, %s, 3, 40, now() - %s * interval '1 second')"
    run_sql(insert, "old", "running", "", 600)
    report = await ledger_state.flusher(database)
    assert report is not None
    assert not report.alive
    assert report.heartbeat_age_ms >= 600_000
    run_sql(insert, "new", "halted", "gap", 0)
    report = await ledger_state.flusher(database)
    assert report is not None
    assert (report.worker, report.state, report.reason, report.alive) == ("new", "halted", "gap", False)
    run_sql(insert, "other", "running", "", 1)
    report = await ledger_state.flusher(database)
    assert report is not None
    assert (report.worker, report.alive, report.lag_events, report.lag_ms) == ("other", True, 3, 40)
    assert await ledger_state.quarantined(database) == 0


async def test_no_postgres_is_one_exception(server_folder: object) -> None:
    away = Database(f"postgresql://holdfast:secret@/nothing?host={server_folder}")
    with pytest.raises(DatabaseUnavailable) as caught:
        await products.get(away, "A")
    assert "secret" not in str(caught.value)
    await away.close()


async def test_a_restart_of_postgres_is_survived(make_postgres: Callable[..., object]) -> None:
    from persistence.migrate import upgrade

    server = make_postgres()
    url = server.url  # type: ignore[attr-defined]
    upgrade(url)
    database = Database(url)
    await put(database, "A")
    server.kill()  # type: ignore[attr-defined]
    with pytest.raises(DatabaseUnavailable):
        await products.get(database, "A")
    server.start()  # type: ignore[attr-defined]
    assert await products.get(database, "A") is not None
    server.stop()  # type: ignore[attr-defined]
    server.start()  # type: ignore[attr-defined]
    assert await products.get(database, "A") is not None
    await database.close()
