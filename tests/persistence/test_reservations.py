"""Reservations as Postgres remembers them, by id and in filtered pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from persistence.database import Database
from persistence.pages import InvalidCursor
from persistence.queries import reservations
from persistence.queries.reservations import ReservationFilter
from tests.persistence.conftest import LedgerFiller

RunSql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def put(run_sql: RunSql) -> Callable[..., str]:
    start = datetime.now(UTC).replace(microsecond=123_000) - timedelta(minutes=10)
    made: list[str] = []

    def reservation(status: str = "ACTIVE", sku: str = "A", customer: str = "c", order: str | None = None) -> str:
        number = len(made) + 1
        moment = start + timedelta(seconds=number)
        name = f"{number:036x}"
        run_sql(
            "INSERT INTO stock_reservations (id, seq, created_at, updated_at, expires_at, ended_at, partition, epoch,"
            " status, owner, customer_id, cart_id, order_id, fingerprint, lines)"
            " VALUES (%s, %s, %s, %s, %s, NULL, 0, 1, %s, 'storefront', %s, NULL, %s, '', %s)",
            name, number, moment, moment, moment + timedelta(minutes=30), status, customer, order,
            msgspec.json.encode([{"sku": sku, "quantity": 2}]).decode(),
        )  # fmt: skip
        run_sql("INSERT INTO reservation_skus VALUES (%s, %s, %s)", sku, moment, name)
        made.append(name)
        return name

    return reservation


async def ids(database: Database, **filters: object) -> list[str]:
    return [r.id for r in (await reservations.page(database, ReservationFilter(**filters))).items]  # type: ignore[arg-type]


async def test_by_id(database: Database, put: Callable[..., str]) -> None:
    name = put()
    found = await reservations.by_id(database, name)
    assert found is not None
    assert (found.id, found.status, found.owner, found.lines) == (name, "ACTIVE", "storefront", (("A", 2),))
    assert found.deadline_ms - found.created_ms == 1_800_000
    assert found.created_ms % 1000 == 123
    assert await reservations.by_id(database, "0" * 36) is None


async def test_each_filter(database: Database, put: Callable[..., str], fill: LedgerFiller) -> None:
    a = put()
    b = put("COMPLETED", order="o1")
    c = put("EXPIRED", sku="B", customer="d")
    d = put("COMPLETED", sku="B", order="o1")
    fill("A", 10)
    fill("B", 10)
    for sku, name in (("A", b), ("B", d)):
        fill(sku, -2, "OUT", ("Order", "o1"), "storefront", name)
    assert await ids(database) == [d, c, b, a]
    assert await ids(database, status="ACTIVE") == [a]
    assert await ids(database, status="COMPLETED") == [d, b]
    assert await ids(database, customer_id="d") == [c]
    assert await ids(database, sku="B") == [d, c]
    assert await ids(database, order_id="o1") == [d, b]
    assert await ids(database, order_id="o1", sku="B", status="COMPLETED", customer_id="c") == [d]
    assert await ids(database, order_id="o2") == []
    assert await ids(database, owner="somebody") == []


@pytest.mark.parametrize("filters", [{}, {"sku": "A"}, {"customer_id": "c"}, {"status": "ACTIVE"}])
async def test_pages(database: Database, put: Callable[..., str], filters: dict[str, str]) -> None:
    names = [put() for _ in range(11)]
    seen: list[str] = []
    cursor = None
    while True:
        found = await reservations.page(database, ReservationFilter(**filters), 4, cursor)  # type: ignore[arg-type]
        seen += [r.id for r in found.items]
        cursor = found.next_cursor
        if cursor is None:
            break
    assert seen == names[::-1]


async def test_a_cursor_of_another_list_is_refused(database: Database, put: Callable[..., str]) -> None:
    for _ in range(3):
        put()
    cursor = (await reservations.page(database, ReservationFilter(), 1)).next_cursor
    with pytest.raises(InvalidCursor):
        await reservations.page(database, ReservationFilter(sku="A"), 1, cursor)
