"""persistence/database.py: a Postgres that cannot do what is asked of it now is away, in whatever words it says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from sqlalchemy import func, insert, select, text

from persistence.database import Database, DatabaseUnavailable
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
