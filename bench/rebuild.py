"""Rebuilding Redis from Postgres: 100,000 SKUs and 100,000 live holds, from an empty server to the first answer.

    python -m bench.rebuild

Compares with nothing: the goal is a bound, 30 seconds, during which a shop answers 503. Caveat: the holds are of one
line each and not keyed, and the archive holds little else; records of keyed requests in their window come on top.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import Final

from redis import Redis

from bench.commands import sku_names
from bench.figures import Figure
from bench.rounds import Scale, run_alone
from bench.servers import postgres, valkey
from bench.whole_store import fill, settle
from engine.commands import Configure
from engine.keys import partition_keys
from worker.recovery import Recovery

COMMAND = "python -m bench.rebuild"
SKUS: Final = 100_000
HOLDS: Final = 100_000
KEYS: Final = partition_keys(0)


def measure(scale: Scale) -> list[Figure]:
    """Seconds from the look that finds an empty Redis to the one that finds all well."""
    skus, holds = scale.of(SKUS), scale.of(HOLDS)
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        products = [Configure(sku, 0, 0, True, 1_000_000, "admin") for sku in sku_names(skus)]
        fill(redis_server.url, database.url, products, holds)
        settle(database)
        client = stack.enter_context(Redis.from_url(redis_server.url))
        recovery = Recovery(redis_server.url, database.url)
        stack.callback(recovery.close)
        recovery.look()
        took = []
        for _ in range(scale.rounds):
            client.flushall()
            began = time.perf_counter()
            recovery.look()
            took.append(time.perf_counter() - began)
            found = (client.hlen(KEYS.stock), client.zcard(KEYS.deadlines), client.dbsize())
            if found != (skus, holds, holds + 3):
                raise RuntimeError(f"not everything came back: {found}")
    return [
        Figure(
            what=f"Rebuild of Redis: {skus:,} SKUs, {holds:,} holds",
            unit="s",
            ours=statistics.median(took),
            comparison="<=",
            goal=30.0,
            goal_on="ours",
            note=f"from empty to open; slowest {max(took):.1f} s",
            command=COMMAND,
        )
    ]


if __name__ == "__main__":
    run_alone(measure, "Rebuilding Redis from Postgres")
