"""GET /inventory/low-stock over 100,000 SKUs of which 1,000 are low: the first page, lowest first.

    python -m bench.low_stock

Compares with two ways to write it by hand, each from this process without HTTP: one query over levels and products that
sorts what it finds, and every counter read from Redis and sorted in Python. Both are asked in turn with ours, which
answers over HTTP. Caveat: nothing moves meanwhile; the list waits for the ledger, and a shop that sells adds a flush.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import psycopg
from redis import Redis

from bench.commands import sku_names
from bench.figures import Figure
from bench.rounds import Compared, Scale, compare, run_alone
from bench.servers import holdfast_api, holdfast_worker, postgres, valkey
from bench.whole_store import admin_client, fill, settle
from engine.commands import Configure
from engine.engine import level_of
from engine.keys import partition_keys
from persistence.database_url import psycopg_url

COMMAND = "python -m bench.low_stock"
SKUS: Final = 100_000
ONE_LOW_IN: Final = 100
QUERIES: Final = 40


def measure(scale: Scale) -> list[Figure]:
    """Milliseconds a list, ours and the rivals'."""
    skus, queries = scale.of(SKUS), max(3, scale.of(QUERIES))
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        products = [
            Configure(sku, 0, 10, True, 1 + number // ONE_LOW_IN % 9 if number % ONE_LOW_IN == 0 else 500, "admin")
            for number, sku in enumerate(sku_names(skus))
        ]
        fill(redis_server.url, database.url, products)
        settle(database)
        stack.enter_context(holdfast_worker(redis_server.url, database.url))
        server = stack.enter_context(holdfast_api(redis_server.url, database.url))
        client = stack.enter_context(admin_client(server))
        redis = stack.enter_context(Redis.from_url(redis_server.url))
        connection = stack.enter_context(psycopg.connect(psycopg_url(database.url), autocommit=True))

        def ours() -> list[str]:
            answer = client.get("/inventory/low-stock")
            answer.raise_for_status()
            return [item["sku"] for item in answer.json()["items"]]

        def by_query() -> list[str]:
            found = connection.execute(
                "SELECT l.sku FROM inventory_levels l JOIN products p ON p.sku = l.sku"
                " WHERE l.on_hand - l.reserved - p.safety_stock > 0"
                " AND l.on_hand - l.reserved - p.safety_stock < p.low_stock_threshold"
                " ORDER BY l.on_hand - l.reserved - p.safety_stock, l.sku LIMIT 50"
            )
            return [row[0] for row in found.fetchall()]

        def by_counters() -> list[str]:
            everything: dict[bytes, bytes] = redis.hgetall(partition_keys(0).stock)
            levels = [level_of(sku, value) for sku, value in everything.items()]
            low = [(one.available, one.sku) for one in levels if one and 0 < one.available < one.low_stock_threshold]
            return [sku for _, sku in sorted(low)[:50]]

        if not ours() == by_query() == by_counters():
            raise RuntimeError("the lists differ")
        query, counters = [], []
        for _ in range(scale.rounds):
            query.append((_median_ms(ours, queries), _median_ms(by_query, queries)))
            counters.append((_median_ms(ours, queries), _median_ms(by_counters, max(3, queries // 10))))
    return [
        _figure(skus, "one query that sorts levels and products", compare(query)),
        _figure(skus, "all counters read and sorted in Python", compare(counters)),
    ]


def _figure(skus: int, rival: str, found: Compared) -> Figure:
    return found.figure(
        what=f"low-stock list over {skus:,} SKUs, over HTTP",
        rival=rival,
        unit="ms",
        comparison="<=",
        goal=200.0,
        goal_on="ours",
        command=COMMAND,
    )


def _median_ms(ask: Callable[[], list[str]], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


if __name__ == "__main__":
    run_alone(measure, "The low-stock list")
