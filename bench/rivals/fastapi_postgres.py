"""The service without Redis: FastAPI and Postgres, `UPDATE ... WHERE` and INSERT, in two forms.

Owns the one endpoint, its tables and its statements. `two`: a transaction of INSERT and UPDATE, as it is usually
written, the lock on the SKU taken last. `one`: both folded into one prepared statement, one round trip and one commit,
so that the lock is held as briefly as Postgres can. psycopg's asyncio connections, in a pool too small to queue on it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from fastapi import FastAPI

from bench.rivals.fastapi_body import (
    Caller,
    IdempotencyKey,
    Reservation,
    ReserveBody,
    answer,
    clock,
    insufficient,
    key_reused,
    reservation_id,
)
from bench.rivals.serve import serve

POOL: Final = 8
"""Connections: on one hot SKU more only wait for each other."""

TABLES: Final = """
CREATE TABLE rival_stock (
  sku text PRIMARY KEY, on_hand bigint NOT NULL, reserved bigint NOT NULL DEFAULT 0,
  safety_stock bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
CREATE TABLE rival_reservations (
  id text PRIMARY KEY, sku text NOT NULL, quantity bigint NOT NULL, customer_id text NOT NULL, status text NOT NULL,
  expires_at timestamptz NOT NULL, created_at timestamptz NOT NULL
);
CREATE INDEX rival_reservations_expires_at ON rival_reservations (expires_at);
"""

_INSERT: Final = """
INSERT INTO rival_reservations (id, sku, quantity, customer_id, status, expires_at, created_at)
VALUES (%(id)s, %(sku)s, %(quantity)s, %(customer)s, 'ACTIVE', %(expires)s, %(now)s) ON CONFLICT (id) DO NOTHING
"""

_UPDATE: Final = """
UPDATE rival_stock SET reserved = reserved + %(quantity)s
WHERE sku = %(sku)s AND on_hand - reserved - safety_stock >= %(quantity)s
"""

_BOTH: Final = """
WITH known AS (SELECT id FROM rival_reservations WHERE id = %(id)s),
taken AS (
  UPDATE rival_stock SET reserved = reserved + %(quantity)s
  WHERE sku = %(sku)s AND on_hand - reserved - safety_stock >= %(quantity)s AND NOT EXISTS (SELECT 1 FROM known)
  RETURNING sku
), made AS (
  INSERT INTO rival_reservations (id, sku, quantity, customer_id, status, expires_at, created_at)
  SELECT %(id)s, sku, %(quantity)s, %(customer)s, 'ACTIVE', %(expires)s, %(now)s FROM taken
  RETURNING 1
)
SELECT (SELECT count(*) FROM made), (SELECT count(*) FROM known)
"""


class _Short(Exception):
    """The stock does not suffice; rolls the transaction back."""


async def _in_two(connection: psycopg.AsyncConnection[Any], values: dict[str, Any]) -> tuple[bool, bool]:
    try:
        async with connection.transaction():
            if (await connection.execute(_INSERT, values)).rowcount == 0:
                return False, True
            if (await connection.execute(_UPDATE, values)).rowcount == 0:
                raise _Short
    except _Short:
        return False, False
    return True, False


async def _in_one(connection: psycopg.AsyncConnection[Any], values: dict[str, Any]) -> tuple[bool, bool]:
    row = await (await connection.execute(_BOTH, values)).fetchone()
    made, known = row or (0, 0)
    return bool(made), bool(known)


def make_app(database_url: str, statements: str) -> FastAPI:
    """The application, connected to `database_url` while it runs; `statements`: one or two."""
    run = _in_one if statements == "one" else _in_two
    pool: asyncio.LifoQueue[psycopg.AsyncConnection[Any]] = asyncio.LifoQueue()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for _number in range(POOL):
            pool.put_nowait(await psycopg.AsyncConnection.connect(database_url, autocommit=True, prepare_threshold=0))
        yield
        for _number in range(POOL):
            await (await pool.get()).close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/inventory/reserve", status_code=201)
    async def reserve(body: ReserveBody, caller: Caller, idempotency_key: IdempotencyKey) -> Reservation:
        identity = reservation_id(caller, idempotency_key)
        now = clock()
        reservation = answer(body, identity, now)
        connection = await pool.get()
        try:
            made, known = await run(
                connection,
                {
                    "id": identity,
                    "sku": body.sku,
                    "quantity": body.quantity,
                    "customer": body.customer_id,
                    "expires": reservation.expires_at,
                    "now": now,
                },
            )
        finally:
            pool.put_nowait(connection)
        if known:
            raise key_reused()
        if not made:
            raise insufficient(body.sku)
        return reservation

    return app


def prepare(database_url: str, sku: str) -> None:
    """Make the tables and one SKU that does not run out."""
    with psycopg.connect(database_url) as connection:
        connection.execute(TABLES)
        connection.execute("INSERT INTO rival_stock (sku, on_hand) VALUES (%s, 100000000)", (sku,))


if __name__ == "__main__":
    serve(make_app(os.environ["HOLDFAST_BENCH_DATABASE_URL"], os.environ["HOLDFAST_BENCH_STATEMENTS"]))
