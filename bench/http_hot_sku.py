"""An HTTP reserve of one hot SKU, against Postgres alone.

    python -m bench.http_hot_sku

Compares with FastAPI + Postgres, `UPDATE ... WHERE` and INSERT: in a transaction of two statements, as it is usually
written (the goal counts here); tuned, both folded into one statement; and that with synchronous_commit off, which
promises what our AOF everysec does. Ours once with AOF everysec and once with AOF always, which promises what a synced
commit does. Flusher not running. Caveat: the generator shares the other core with Valkey or Postgres.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import uvloop

from bench import wrk
from bench.commands import sku_names, stock_up
from bench.cores import LOAD, require_two_cores
from bench.figures import Comparison, Figure
from bench.rivals.fastapi_postgres import prepare
from bench.rounds import Scale, compare, run_alone
from bench.servers import STOREFRONT_KEY, HttpServer, holdfast_api, postgres, rival, valkey
from engine import Engine, EngineSettings
from persistence.database_url import psycopg_url
from runtime.embedded_redis import AppendFsync

COMMAND = "python -m bench.http_hot_sku"
SECONDS: Final = 3.0
OURS: Final[tuple[AppendFsync, ...]] = ("everysec", "always")
RIVALS: Final = {
    "FastAPI + Postgres, transaction of UPDATE ... WHERE and INSERT": ("two", "on"),
    "FastAPI + Postgres, both in one statement": ("one", "on"),
    "FastAPI + Postgres, both in one statement, synchronous_commit off": ("one", "off"),
}
"""The rivals: how many statements, and synchronous_commit."""

USUAL, TUNED, TUNED_UNSYNCED = RIVALS
PAIRS: Final[tuple[tuple[AppendFsync, str, Comparison, float | None], ...]] = (
    ("everysec", USUAL, ">=", 20.0),
    ("everysec", TUNED, "", None),
    ("everysec", TUNED_UNSYNCED, "", None),
    ("always", TUNED, "", None),
)
"""Our AOF policy, the rival, and the goal."""


def measure(scale: Scale) -> list[Figure]:
    """Requests a second, ours and the rival's, each with both durabilities."""
    wrk.require_wrk()
    require_two_cores()
    seconds = scale.seconds(SECONDS)
    rates: dict[str, list[float]] = {way: [] for way in (*OURS, *RIVALS)}
    with ExitStack() as stack:
        servers: dict[str, HttpServer] = {policy: stack.enter_context(_holdfast(policy)) for policy in OURS}
        for name, (statements, synchronous_commit) in RIVALS.items():
            servers[name] = stack.enter_context(_postgres_service(statements, synchronous_commit))
        for _ in range(scale.rounds):
            for way, server in servers.items():
                rates[way].append(wrk.reserve(server.port, seconds, STOREFRONT_KEY, 1).rate)
    figures = []
    for policy, name, comparison, goal in PAIRS:
        found = compare(list(zip(rates[policy], rates[name], strict=True)))
        figures.append(
            found.figure(
                what=f"HTTP reserve of one hot SKU, requests a second, AOF {policy}",
                rival=name,
                unit="/s",
                comparison=comparison,
                goal=goal,
                command=COMMAND,
            )
        )
    return figures


@contextmanager
def _holdfast(policy: AppendFsync) -> Iterator[HttpServer]:
    durability = "fsync" if policy == "always" else "journal"
    with valkey(policy) as redis_server, postgres() as database:
        uvloop.run(_stock(redis_server.url))
        with holdfast_api(redis_server.url, database.url, {"HOLDFAST_DURABILITY": durability}) as server:
            yield server


@contextmanager
def _postgres_service(statements: str, synchronous_commit: str) -> Iterator[HttpServer]:
    with postgres({"synchronous_commit": synchronous_commit}, core=LOAD) as database:
        prepare(psycopg_url(database.url), sku_names(1)[0])
        environment = {
            "HOLDFAST_BENCH_DATABASE_URL": psycopg_url(database.url),
            "HOLDFAST_BENCH_STATEMENTS": statements,
            "HOLDFAST_BENCH_KEY": STOREFRONT_KEY,
        }
        with rival("fastapi_postgres", environment) as server:
            yield server


async def _stock(redis_url: str) -> None:
    engine = await Engine.connect(redis_url, EngineSettings())
    await stock_up(engine, sku_names(1))
    await engine.close()


if __name__ == "__main__":
    run_alone(measure, "An HTTP reserve of one hot SKU")
