"""One reconciliation of 100,000 SKUs and 100,000 live holds, at rest and while the shop sells, over HTTP.

    python -m bench.reconciliation

Compares with the audit of a shop that stands still: HGETALL, every deadline and two sums in SQL, held against each
other in Python. That one is wrong as soon as anything moves, and holds Redis for one whole answer; how long either held
it, by Redis's own slow log, is in the note. Caveat: the API process that reconciles also takes the reserves of the
second figure, so what they pay is what a shop with one API process pays whenever somebody asks.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import httpx
import psycopg
from redis import Redis

from bench.commands import sku_names
from bench.figures import Figure, number
from bench.generator import Generator, percentile, reserves
from bench.rounds import Scale, compare, run_alone
from bench.servers import STOREFRONT_KEY, HttpServer, holdfast_api, holdfast_worker, postgres, valkey
from bench.whole_store import admin_client, fill, settle
from engine.commands import Configure, parse_lines
from engine.keys import partition_keys
from persistence.database_url import psycopg_url

COMMAND = "python -m bench.reconciliation"
SKUS: Final = 100_000
HOLDS: Final = 100_000
RATE: Final = 300.0
"""Reserves a second meanwhile, arriving when they like: a busy day, far from the peak."""
SECONDS: Final = 6.0
KEYS: Final = partition_keys(0)


def measure(scale: Scale) -> list[Figure]:
    """Seconds a run, and what reserves pay meanwhile."""
    skus, holds = scale.of(SKUS), scale.of(HOLDS)
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        fill(
            redis_server.url,
            database.url,
            [Configure(sku, 0, 0, True, 1_000_000, "admin") for sku in sku_names(skus)],
            holds,
        )
        settle(database)
        stack.enter_context(holdfast_worker(redis_server.url, database.url))
        server = stack.enter_context(holdfast_api(redis_server.url, database.url))
        client = stack.enter_context(admin_client(server))
        redis = stack.enter_context(Redis.from_url(redis_server.url))
        pairs, longest, naive_longest = [], [], []
        for _ in range(scale.rounds):
            ours, held_ms = _watched(redis, lambda: _reconcile(client, skus))
            theirs, naive_held_ms = _watched(redis, lambda: _at_rest(redis, database.url, skus))
            pairs.append((ours, theirs))
            longest.append(held_ms)
            naive_longest.append(naive_held_ms)
        beside = [_beside(server, client, skus, scale, turn) for turn in range(scale.rounds)]
    found, calm = compare(pairs), compare([(busy, quiet) for busy, quiet, _ in beside])
    return [
        found.figure(
            what=f"reconciliation of {skus:,} SKUs and {holds:,} holds, over HTTP",
            rival="all of Redis and two sums in SQL, at rest",
            unit="s",
            note=f"longest that Redis was held by one command: {number(max(longest))} ms, "
            f"by the rival's {number(max(naive_longest))} ms",
            command=COMMAND,
        ),
        calm.figure(
            what=f"reserve p99 at {RATE:g}/s while the same process reconciles without a pause",
            rival="the same without",
            unit="ms",
            note=f"{statistics.median(runs for _, _, runs in beside):g} runs in that time, no false alarm in any",
            command=COMMAND,
        ),
    ]


def _reconcile(client: httpx.Client, skus: int) -> None:
    answer = client.get("/inventory/reconciliation")
    if answer.status_code != 200:
        raise RuntimeError(f"no verdict: {answer.text}")
    found = answer.json()
    if found["status"] != "ok" or found["checked_skus"] != skus:
        raise RuntimeError(f"drift in the benchmark: {found['drift'][:3]}")


def _watched(redis: Redis, run: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and the milliseconds of the longest command that Redis ran meanwhile."""
    # The outcome of the run before must not be given again.
    time.sleep(1.1)
    redis.config_set("slowlog-log-slower-than", 200)
    redis.config_set("slowlog-max-len", 10_000)
    redis.slowlog_reset()
    began = time.perf_counter()
    run()
    took = time.perf_counter() - began
    entries: list[dict[str, Any]] = redis.slowlog_get(10_000)
    return took, max((entry["duration"] for entry in entries), default=0) / 1000


def _at_rest(redis: Redis, database_url: str, skus: int) -> None:
    counters: Any = redis.hgetall(KEYS.stock)
    deadlines: Any = redis.zrange(KEYS.deadlines, 0, -1)
    held: Counter[str] = Counter()
    for member in deadlines:
        for sku, quantity in parse_lines(member.decode().partition(" ")[2]):
            held[sku] += quantity
    with psycopg.connect(psycopg_url(database_url)) as connection:
        ledger: dict[str, int] = dict(
            connection.execute("SELECT sku, sum(quantity)::bigint FROM inventory_transactions GROUP BY sku").fetchall()
        )
        active = {row[0]: row[1] for row in connection.execute("SELECT sku, reserved FROM inventory_levels").fetchall()}
    differences = 0
    for name, value in counters.items():
        sku = name.decode()
        on_hand, reserved = map(int, value.split(b" ")[:2])
        differences += on_hand != ledger.get(sku) or reserved != held[sku] or reserved != active[sku]
    if differences or len(counters) != skus:
        raise RuntimeError(f"the rival found {differences} differences at rest")


def _beside(server: HttpServer, client: httpx.Client, skus: int, scale: Scale, turn: int) -> tuple[float, float, int]:
    """p99 of reserves with and without reconciliations, and how many of those there were."""
    seconds = scale.seconds(SECONDS)
    generator = Generator(server.port, 16, reserves(server.port, STOREFRONT_KEY, min(skus, 1000)))
    quiet = generator.open_loop(RATE, seconds, seed=turn)
    stop, runs = [False], 0

    def reconcile_on_and_on() -> int:
        done = 0
        while not stop[0]:
            _reconcile(client, skus)
            done += 1
        return done

    with ThreadPoolExecutor(1) as apart:
        running = apart.submit(reconcile_on_and_on)
        busy = generator.open_loop(RATE, seconds, seed=turn)
        stop[0] = True
        runs = running.result()
    generator.close()
    if quiet.refused or busy.refused:
        raise RuntimeError("a reserve of the benchmark was refused")
    return percentile(busy.latencies_ms, 0.99), percentile(quiet.latencies_ms, 0.99), runs


if __name__ == "__main__":
    run_alone(measure, "Reconciliation")
