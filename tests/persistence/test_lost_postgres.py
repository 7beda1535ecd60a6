"""persistence/database.py: a Postgres that cannot do what is asked of it now is away, in whatever words it says so."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import func, insert, select, text

from persistence.database import GRACE_S, Database, DatabaseUnavailable
from persistence.database_url import lasting_url, psycopg_url
from persistence.named_lock import named_lock
from persistence.tables import products
from tests.waiting import eventually


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, pool_size=2)
    yield opened
    await opened.close()


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(psycopg_url(database_url), autocommit=True) as connection:
        yield connection


def _name_of(admin: psycopg.Connection[tuple[object, ...]]) -> str:
    return admin.info.dbname


async def test_a_primary_that_became_a_standby_is_away(
    database: Database, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Behind a failover its clients are still connected, and reading goes on."""
    admin.execute(f'ALTER DATABASE "{_name_of(admin)}" SET default_transaction_read_only = on'.encode())
    product = insert(products).values(sku="A", name="a", low_stock_threshold=0, safety_stock=0, status="active")

    with pytest.raises(DatabaseUnavailable, match="ReadOnlySqlTransaction"):
        await database.write(product)
    with pytest.raises(DatabaseUnavailable, match="ReadOnlySqlTransaction"):
        async with database.transaction() as transaction:
            await transaction.execute(product)

    assert await database.fetch(select(products)) == []
    # A connection is given up once it was refused: the next one leads to whoever is primary then.
    admin.execute(f'ALTER DATABASE "{_name_of(admin)}" SET default_transaction_read_only = off'.encode())

    async def written() -> bool:
        try:
            await database.write(product)
        except DatabaseUnavailable:
            return False
        return True

    await eventually(written, what="a connection that writes")


@pytest.mark.parametrize("how", ["the server's patience", "a kill"])
async def test_what_was_done_under_a_lock_stands_when_its_connection_is_lost(
    database: Database, admin: psycopg.Connection[tuple[object, ...]], how: str
) -> None:
    if how == "the server's patience":
        admin.execute(f'ALTER DATABASE "{_name_of(admin)}" SET idle_in_transaction_session_timeout = 100'.encode())
    done = False
    async with named_lock(database, asyncio.Semaphore(1), "test", "name"):
        others = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> :own")
        (own,) = await database.fetch(select(func.pg_backend_pid()))
        if how == "a kill":
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
            )

        async def lost() -> bool:
            return (await database.fetch(others.bindparams(own=own[0])))[0][0] == 1

        await eventually(lost, what="the lock's connection is gone")
        done = True
    assert done


def test_what_notices_a_loss_is_asked_for_unless_the_url_says_otherwise() -> None:
    assert lasting_url("postgresql://host/db") == (
        "postgresql://host/db?keepalives_idle=5&keepalives_interval=2&keepalives_count=3&tcp_user_timeout=10000"
    )
    given = lasting_url("postgres://host/db?tcp_user_timeout=1&keepalives_idle=2")
    assert given == (
        "postgresql://host/db?tcp_user_timeout=1&keepalives_idle=2&keepalives_interval=2&keepalives_count=3"
    )
    assert lasting_url(given) == given


async def test_a_server_that_stands_still_is_away(database_url: str) -> None:
    opened = Database(database_url, pool_size=2, statement_timeout_ms=200)
    try:
        assert await opened.fetch(select(products)) == []
        held = await opened.fetch(select(func.pg_backend_pid()))
        with _frozen(held[0][0]):
            # Its own limit of 0.2 s ends nothing here: nobody is there to keep it.
            async with asyncio.timeout(30):
                with pytest.raises(DatabaseUnavailable, match="said nothing"):
                    await opened.write(select(products))
        assert await opened.fetch(select(products)) == [], "another connection"
    finally:
        await opened.close()


async def test_a_statement_that_is_only_slow_is_waited_for(database_url: str) -> None:
    opened = Database(database_url, pool_size=1, statement_timeout_ms=200)
    try:
        async with opened.transaction() as transaction:
            await transaction.execute(text("SET LOCAL statement_timeout = 0"))
            began = asyncio.get_running_loop().time()
            # Words of the server that keep coming, each well within the patience.
            for _ in range(3):
                await transaction.execute(text("SELECT pg_sleep(1)"))
            assert asyncio.get_running_loop().time() - began > GRACE_S
    finally:
        await opened.close()


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
