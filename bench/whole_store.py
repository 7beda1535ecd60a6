"""A whole store for benchmarks of the service around the engine: SKUs in Redis and ledger alike, and clients for it.

Owns filling, draining the journal into the ledger, and the statements that make a large ledger; never measures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import Final

import httpx
import psycopg
import uvloop
from redis import Redis

from bench.commands import reserves
from bench.servers import ADMIN_KEY, HttpServer
from engine import Engine, EngineSettings
from engine.commands import Configure
from engine.keys import partition_keys
from persistence.database_url import psycopg_url
from runtime.embedded_postgres import EmbeddedPostgres
from worker.flusher import Flusher, FlusherSettings

CHUNK: Final = 10_000
DRAIN_TIMEOUT_S: Final = 300.0


def fill(redis_url: str, database_url: str, products: Iterable[Configure], holds: int = 0) -> None:
    """Make products, then `holds` live holds of one unit spread over them, all of it in the ledger as well."""
    made = list(products)
    uvloop.run(_fill(redis_url, made, holds))
    drain(redis_url, database_url)


async def _fill(redis_url: str, products: list[Configure], holds: int) -> None:
    engine = await Engine.connect(redis_url, EngineSettings())
    supply = reserves([product.sku for product in products])
    for start in range(0, len(products), CHUNK):
        replies = await engine.apply_raw(products[start : start + CHUNK])
        if any(reply.status != "ok" for reply in replies):
            raise RuntimeError("the products of the benchmark could not be made")
    for start in range(0, holds, CHUNK):
        held = await engine.apply_raw(list(islice(supply, min(CHUNK, holds - start))))
        if any(reply.status != "ok" for reply in held):
            raise RuntimeError("a hold of the benchmark was refused")
    await engine.close()


def drain(redis_url: str, database_url: str) -> None:
    """Bring the ledger up to the journal's end, with a flusher of this process."""
    flusher = Flusher(redis_url, database_url, FlusherSettings(drain_ms=round(DRAIN_TIMEOUT_S * 1000)))
    # Asked to stop before it begins: it drains what is there, and returns.
    flusher.stop()
    flusher.run()


def settle(database: EmbeddedPostgres) -> None:
    """Statistics and visibility as autovacuum leaves them, and nothing left to write back."""
    with psycopg.connect(psycopg_url(database.url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def wait_flushed(redis_url: str, database_url: str) -> None:
    """Wait until the worker has flushed everything. Raises RuntimeError after five minutes."""
    keys = partition_keys(0)
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    with Redis.from_url(redis_url) as client, psycopg.connect(psycopg_url(database_url), autocommit=True) as connection:
        while True:
            row = connection.execute("SELECT seq FROM journal_cursors WHERE partition = 0").fetchone()
            written: bytes | None = client.hget(keys.meta, "seq")
            if row is not None and int(row[0]) == int(written or 0):
                return
            if time.monotonic() > deadline:
                raise RuntimeError("the worker does not catch up")
            time.sleep(0.05)


def admin_client(server: HttpServer) -> httpx.Client:
    """A client with the admin's key, that waits as long as a large file takes."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}",
        headers={"authorization": f"Bearer {ADMIN_KEY}"},
        timeout=300,
        trust_env=False,
    )


def milliseconds(seconds: list[float]) -> list[float]:
    """The same in ms."""
    return [one * 1000 for one in seconds]
