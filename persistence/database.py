"""The API's way into Postgres: one pool a process, short read and write statements, and one exception for its absence.

Owns the pool; never holds a query (persistence/queries/) and is no part of the flusher (ledger_writer.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Executable, Row, event, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from persistence.database_url import LOSS_NOTICED, sqlalchemy_url
from persistence.patient_connection import connecting
from persistence.tables import store_secrets

Transaction = AsyncConnection
"""What `Database.transaction` gives: layers above pass it on to the functions of queries/ and run nothing on it."""


GRACE_S: Final = 2.0
"""How much later than the server should have given a statement up its silence is taken for its absence."""


class DatabaseUnavailable(Exception):
    """Postgres cannot be asked now: not reached, connection lost, pool used up, or no answer in time.

    After a write it is unknown whether the statement was done; every write here may be repeated.
    """


class Database:
    """A pool of connections in autocommit: each statement is its own transaction.

    `pool_size`: connections kept; as many again may be opened for a moment. `statement_timeout_ms`: a statement
    that takes longer is given up by the server, and a server that says nothing by then is given up as well. Connects
    when first asked; close it at the end.
    """

    def __init__(self, url: str, pool_size: int = 5, statement_timeout_ms: int = 10_000) -> None:
        self._engine = create_async_engine(
            sqlalchemy_url(url),
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=5,
            pool_recycle=1800,
            hide_parameters=True,
            connect_args={
                # Plans are made for the values at hand, so that partial indexes are seen; and a pooler in between
                # (pgbouncer) needs no care.
                "prepare_threshold": None,
                "async_creator_fn": connecting(statement_timeout_ms / 1000 + GRACE_S),
                "connect_timeout": 3,
                "application_name": "holdfast api",
                "options": f"-c statement_timeout={int(statement_timeout_ms)} -c jit=off",
                **LOSS_NOTICED,
            },
        )
        self.connections_most = 2 * pool_size
        """Connections that may be handed out at the same time."""
        self._cursor_key: bytes | None = None
        self.lock_slots = asyncio.Semaphore(pool_size)
        """Taken by whoever keeps a connection while it needs others, so that half of them stay free for that."""
        self.outer_lock_slots = asyncio.Semaphore(max(1, pool_size // 2))
        """The same for locks under which one of `lock_slots` may be taken: with slots in common, holders of the outer
        ones could wait for each other for ever."""

    async def close(self) -> None:
        """Let every connection go."""
        await self._engine.dispose()

    @property
    def connections_in_use(self) -> int:
        """Connections handed out at this moment, for metrics."""
        return int(self._engine.pool.checkedout())  # type: ignore[attr-defined]

    def watch_statements(self, watch: Callable[[str], Callable[[bool], None] | None]) -> None:
        """From now on `watch` is called with each statement (without its values) as it begins, and what that gives,
        if anything, at its end with whether it went well. For traces.
        """

        def begin(*given: Any) -> None:
            given[4]._holdfast_end = watch(given[2])

        def end(*given: Any) -> None:
            told = getattr(given[4], "_holdfast_end", None)
            if told is not None:
                told(True)

        def fail(failure: Any) -> None:
            told = getattr(failure.execution_context, "_holdfast_end", None)
            if told is not None:
                told(False)

        engine = self._engine.sync_engine
        event.listen(engine, "before_cursor_execute", begin)
        event.listen(engine, "after_cursor_execute", end)
        event.listen(engine, "handle_error", fail)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool. Raises DatabaseUnavailable, also for what is done inside."""
        try:
            async with self._engine.connect() as connection:
                try:
                    yield connection
                except DBAPIError as error:
                    if _is_read_only(error):
                        # The next one may lead to the server that is primary now; this one never will.
                        await connection.invalidate()
                    raise
        except (OperationalError, InterfaceError, PoolTimeoutError, OSError) as error:
            raise DatabaseUnavailable(_told(error)) from error
        except DBAPIError as error:
            if error.connection_invalidated or _is_read_only(error):
                raise DatabaseUnavailable(_told(error)) from error
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A connection with one transaction: committed at the end, rolled back by an exception.

        Raises DatabaseUnavailable, also for what is done inside; after a failed commit it is unknown whether it was
        done. Pass it to the functions of queries/ that take a connection; nothing outside persistence/ runs SQL on it.
        """
        async with self.connection() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """A read-only transaction whose statements all see the same moment. Keep it short: while it lasts, Postgres
        cleans nothing up that came after it. Raises DatabaseUnavailable, also for what is done inside.
        """
        async with self.connection() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                yield connection

    async def fetch(self, statement: Executable) -> Sequence[Row[Any]]:
        """All rows of a reading statement. Asked once more when the pool's connection turns out to be dead, as all
        are after a restart of Postgres. Raises DatabaseUnavailable.
        """
        try:
            return await self._fetch(statement)
        except DatabaseUnavailable as error:
            if not isinstance(error.__cause__, DBAPIError) or not error.__cause__.connection_invalidated:
                raise
        return await self._fetch(statement)

    async def write(self, statement: Executable) -> Sequence[Row[Any]]:
        """Run a writing statement and give its RETURNING rows, if any. Raises DatabaseUnavailable."""
        return await self._fetch(statement)

    async def _fetch(self, statement: Executable) -> Sequence[Row[Any]]:
        async with self.connection() as connection:
            result = await connection.execute(statement)
            return result.all() if result.returns_rows else ()

    async def cursor_key(self) -> bytes:
        """The secret that signs page cursors, the same for every process on this database."""
        if self._cursor_key is None:
            rows = await self.fetch(select(store_secrets.c.value).where(store_secrets.c.name == "cursor_key"))
            self._cursor_key = bytes(rows[0].value)
        return self._cursor_key


def _is_read_only(error: DBAPIError) -> bool:
    """True for what a server says that has become a standby: no mistake of the statement."""
    return isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction)


def _told(error: BaseException) -> str:
    """What happened, without statement or parameters."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"
