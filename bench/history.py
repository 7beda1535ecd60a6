"""One SKU's last 50 rows in a ledger of 5,000,000: the newest page, and the page 400,000 rows further back.

    python -m bench.history

Compares with the pages a team writes by hand: the same rows by the same index, LIMIT 50 OFFSET n. Both from this
process over a unix socket, in turn; the HTTP figures add one API process. Caveat: the ledger is made by one INSERT in
time order, and it is warm: 5,000,000 rows and their indexes fit into memory here.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import ExitStack
from typing import Any, Final

import httpx
import psycopg
import uvloop

from bench.figures import Figure
from bench.rounds import Scale, compare, run_alone
from bench.servers import holdfast_api, postgres, valkey
from bench.whole_store import admin_client, settle
from persistence.database import Database
from persistence.database_url import psycopg_url
from persistence.queries import transactions
from persistence.queries.transactions import TransactionFilter
from runtime.embedded_postgres import EmbeddedPostgres

COMMAND = "python -m bench.history"
ROWS: Final = 5_000_000
SKUS: Final = 1_000
HOT: Final = "SKU-00000"
"""Every tenth row is of this SKU."""
DEPTH: Final = 400_000
PAGE: Final = 50
QUERIES: Final = 200


def measure(scale: Scale) -> list[Figure]:
    """Milliseconds a page, near and far, in process and over HTTP."""
    rows, depth, queries = scale.of(ROWS), scale.of(DEPTH), scale.of(QUERIES)
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres({"maintenance_work_mem": "512MB", "max_wal_size": "4GB"}))
        _make_ledger(database, rows)
        near, far, cursor = uvloop.run(_in_turn(database, depth, queries, scale.rounds))
        server = stack.enter_context(holdfast_api(redis_server.url, database.url))
        with admin_client(server) as client:
            http_near = _over_http(client, None, queries)
            http_far = _over_http(client, cursor, queries)
    return [
        _figure(f"newest page of one SKU, {rows:,} ledger rows", near, "LIMIT 50", http_near),
        _figure(f"the page {depth:,} rows further back", far, f"LIMIT 50 OFFSET {depth:,}", http_far),
    ]


def _figure(what: str, pairs: list[tuple[float, float]], rival: str, http: float) -> Figure:
    found = compare(pairs)
    return found.figure(
        what=what,
        rival=rival,
        unit="ms",
        comparison="<=",
        goal=10.0,
        goal_on="ours",
        note=f"over HTTP {http:.2f} ms",
        command=COMMAND,
    )


def _make_ledger(database: EmbeddedPostgres, rows: int) -> None:
    """`rows` movements a second apart; indexes are made afterwards, as a restore does."""
    with psycopg.connect(psycopg_url(database.url), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'inventory_transactions'"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        connection.execute(
            "INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition,"
            " epoch, line, sku, transaction_type, reference_type, reference_id, reservation_id, created_by)"
            " SELECT n, q, 1000 + (q < 0)::int, 1000 + (q > 0)::int, '2024-01-01Z'::timestamptz + n * interval '1 s',"
            " 0, 1, 0, 'SKU-' || lpad((CASE WHEN n %% 10 = 0 THEN 0 ELSE n %% %s END)::text, 5, '0'), t, 'Order',"
            " 'order-' || n / 3, CASE WHEN t = 'OUT' THEN lpad(to_hex(n), 36, '0') END, 'key_storefront'"
            " FROM (SELECT n, CASE WHEN n / 10 %% 2 = 0 THEN -1 ELSE 1 END AS q,"
            " CASE WHEN n / 10 %% 2 = 0 THEN 'OUT' ELSE 'RETURN' END AS t"
            " FROM generate_series(1, %s) AS n) AS made",
            (SKUS, rows),
        )
        for _, definition in indexes:
            connection.execute(definition.encode())
    settle(database)


async def _in_turn(
    postgres_server: EmbeddedPostgres, depth: int, queries: int, rounds: int
) -> tuple[list[tuple[float, float]], list[tuple[float, float]], str]:
    database = Database(postgres_server.url)
    wanted = TransactionFilter(sku=HOT)
    cursor = await _cursor_at(database, wanted, depth)
    rival = await psycopg.AsyncConnection.connect(psycopg_url(postgres_server.url), autocommit=True)
    pairs: list[list[tuple[float, float]]] = [[], []]
    for _ in range(rounds):
        for kind, at, offset in ((0, None, 0), (1, cursor, depth)):
            ours, theirs = [], []
            # The far rival takes so long that a few tell as much as many.
            for _ in range(queries if offset == 0 else max(3, queries // 20)):
                theirs.append(await _offset_page(rival, offset))
            for _ in range(queries):
                began = time.perf_counter()
                page = await transactions.page(database, wanted, PAGE, at)
                ours.append(time.perf_counter() - began)
                if len(page.items) != PAGE:
                    raise RuntimeError("a page is not full")
            pairs[kind].append((statistics.median(ours) * 1000, statistics.median(theirs) * 1000))
    await rival.close()
    await database.close()
    return pairs[0], pairs[1], cursor


async def _cursor_at(database: Database, wanted: TransactionFilter, depth: int) -> str:
    cursor: str | None = None
    for _ in range(max(1, depth // 500)):
        page = await transactions.page(database, wanted, 500, cursor)
        cursor = page.next_cursor
        if cursor is None:
            raise RuntimeError("the ledger ends before the depth that was asked for")
        await asyncio.sleep(0)
    assert cursor is not None
    return cursor


async def _offset_page(connection: psycopg.AsyncConnection[Any], offset: int) -> float:
    began = time.perf_counter()
    found = await connection.execute(
        "SELECT * FROM inventory_transactions WHERE sku = %s ORDER BY created_at DESC, id DESC LIMIT 50 OFFSET %s",
        (HOT, offset),
    )
    rows = await found.fetchall()
    took = time.perf_counter() - began
    if len(rows) != PAGE:
        raise RuntimeError("a page of the rival is not full")
    return took


def _over_http(client: httpx.Client, cursor: str | None, queries: int) -> float:
    took = []
    for _ in range(queries):
        began = time.perf_counter()
        answer = client.get(f"/inventory/transactions/{HOT}", params={"cursor": cursor} if cursor else {})
        took.append(time.perf_counter() - began)
        answer.raise_for_status()
        if len(answer.json()["items"]) != PAGE:
            raise RuntimeError("a page over HTTP is not full")
    return statistics.median(took) * 1000


if __name__ == "__main__":
    run_alone(measure, "History of one SKU")
