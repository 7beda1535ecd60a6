"""Locks by name: one holder at a time across processes, free once the holder is gone, never all of the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from persistence.database import Database, DatabaseUnavailable
from persistence.queries import ledger_state
from persistence.queries.approval_lock import approval_lock
from persistence.queries.order_lock import order_lock
from tests.waiting import eventually

WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = " + (
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
HOLDERS = WAITING.replace("count(*)", "pid").replace("NOT granted", "granted")
Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """The pool of another process."""
    opened = Database(database_url)
    yield opened
    await opened.close()


async def test_one_at_a_time_across_pools(database: Database, other: Database, run_sql: Sql) -> None:
    seen: list[str] = []

    async def second() -> None:
        async with order_lock(other, "o-1"):
            seen.append("second")

    async with order_lock(database, "o-1"):
        waiting = asyncio.ensure_future(second())
        await eventually(lambda: run_sql(WAITING) == [(1,)])
        async with order_lock(other, "o-2"), approval_lock(other, "o-1"):
            seen.append("another order, and an approval of the same name")
        seen.append("first")
    await waiting
    assert seen == ["another order, and an approval of the same name", "first", "second"]


async def test_an_error_inside_comes_out_and_frees_it(database: Database, other: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with order_lock(database, "o-1"):
            raise ZeroDivisionError
    async with order_lock(other, "o-1"):
        pass


async def test_a_holder_that_is_cut_off_frees_it_and_its_work_stands(
    database: Database, other: Database, run_sql: Sql
) -> None:
    async with order_lock(database, "o-1"):
        ((pid,),) = run_sql(HOLDERS)
        run_sql("SELECT pg_terminate_backend(%s)", pid)
        async with order_lock(other, "o-1"):
            pass
    async with order_lock(database, "o-1"):
        pass


async def test_waiting_ends_with_the_statement_timeout(database: Database, database_url: str) -> None:
    impatient = Database(database_url, statement_timeout_ms=100)
    async with order_lock(database, "o-1"):
        with pytest.raises(DatabaseUnavailable):
            async with order_lock(impatient, "o-1"):
                raise AssertionError("two holders")
    await impatient.close()


@pytest.mark.parametrize("pool_size", [2, 5])
async def test_many_holders_leave_connections_to_work_with(database_url: str, pool_size: int) -> None:
    """An approval's lock outside, an order's inside, a query under both: more at once than there are connections."""
    small = Database(database_url, pool_size=pool_size)

    async def work(number: int) -> None:
        async with approval_lock(small, f"a-{number}"), order_lock(small, f"o-{number % 7}"):
            await ledger_state.cursor(small)

    async def order_work(number: int) -> None:
        async with order_lock(small, f"o-{number % 7}"):
            await ledger_state.cursor(small)

    async with asyncio.timeout(30):
        await asyncio.gather(*(work(number) for number in range(20)), *(order_work(number) for number in range(20)))
    await small.close()
