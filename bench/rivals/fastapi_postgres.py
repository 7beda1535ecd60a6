"""The service without Redis: FastAPI and Postgres, `UPDATE ... WHERE` and INSERT as one prepared statement.

Owns the one endpoint, its tables and its statement. One round trip and one commit a reservation, so that the lock on a
hot SKU is held as briefly as Postgres can; psycopg's asyncio connections, in a pool too small to queue on that lock.
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
"""Connections. Measured on one hot SKU: 4 to 16 are alike, more only wait for each other."""

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

_RESERVE: Final = """
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


def make_app(database_url: str) -> FastAPI:
    """The application, connected to `database_url` while it runs."""
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
            result = await connection.execute(
                _RESERVE,
                {
                    "id": identity,
                    "sku": body.sku,
                    "quantity": body.quantity,
                    "customer": body.customer_id,
                    "expires": reservation.expires_at,
                    "now": now,
                },
            )
            row = await result.fetchone()
        finally:
            pool.put_nowait(connection)
        made, known = row or (0, 0)
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
    serve(make_app(os.environ["HOLDFAST_BENCH_DATABASE_URL"]))
