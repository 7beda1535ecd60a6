"""An HTTP reserve (key, validation and idempotency on): CPU a request and requests a second of one API process.

    python -m bench.http_reserve

Compares with bare uvicorn saying hello (same core, event loop and parser), and with FastAPI + redis-py + one textbook
script a request. 64 connections from wrk. Caveat: the generator, Valkey and, when it runs, the worker and Postgres
share the other core, so the rate with the flusher running is that of a whole shop on two cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from signal import SIGCONT, SIGSTOP
from typing import Final

import psycopg
import uvloop
from msgspec import Struct

from bench import wrk
from bench.commands import sku_names, stock_up
from bench.cores import require_two_cores
from bench.cpu import cpu_seconds
from bench.figures import Comparison, Figure
from bench.rivals import textbook_script
from bench.rounds import Compared, Scale, compare, run_alone
from bench.servers import STOREFRONT_KEY, HttpServer, holdfast_api, holdfast_worker, postgres, rival, valkey
from engine import Engine, EngineSettings
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis

COMMAND = "python -m bench.http_reserve"
SECONDS: Final = 4.0
SKUS: Final = 1_000
DRAIN_TIMEOUT_S: Final = 120.0
HELLO: Final = "bare uvicorn saying hello"
USUAL: Final = "FastAPI + redis-py + a textbook script a request"


class Turn(Struct, frozen=True):
    """One turn of one server."""

    rate: float
    cpu_us: float
    """Of the server process, a request."""


def measure(scale: Scale) -> list[Figure]:
    """CPU a request and requests a second, ours and the rivals'."""
    require_two_cores()
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        rival_redis = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        uvloop.run(_stock(redis_server.url))
        _stock_rival(rival_redis)
        worker = stack.enter_context(holdfast_worker(redis_server.url, database.url))
        ours = stack.enter_context(holdfast_api(redis_server.url, database.url))
        hello = stack.enter_context(rival("hello"))
        usual = stack.enter_context(
            rival(
                "fastapi_redis",
                {"HOLDFAST_BENCH_REDIS_URL": rival_redis.url, "HOLDFAST_BENCH_KEY": STOREFRONT_KEY},
            )
        )
        seconds = scale.seconds(SECONDS)
        found: dict[str, list[Turn]] = {"hello": [], "paused": [], "running": [], "usual": []}
        for _ in range(scale.rounds):
            os.kill(worker, SIGSTOP)
            found["hello"].append(_turn(hello, lambda: wrk.hello(hello.port, seconds)))
            found["paused"].append(_turn(ours, lambda: wrk.reserve(ours.port, seconds, STOREFRONT_KEY, SKUS)))
            found["usual"].append(_turn(usual, lambda: wrk.reserve(usual.port, seconds, STOREFRONT_KEY, SKUS)))
            os.kill(worker, SIGCONT)
            _drain(redis_server, database)
            found["running"].append(_turn(ours, lambda: wrk.reserve(ours.port, seconds, STOREFRONT_KEY, SKUS)))
    return _figures(found)


def _figures(found: dict[str, list[Turn]]) -> list[Figure]:
    def rates(ours: str, theirs: str) -> Compared:
        return compare([(a.rate, b.rate) for a, b in zip(found[ours], found[theirs], strict=True)])

    def costs(ours: str, theirs: str) -> Compared:
        return compare([(a.cpu_us, b.cpu_us) for a, b in zip(found[ours], found[theirs], strict=True)])

    if not wrk.is_there():
        return [
            _figure("HTTP reserve, API CPU a request", HELLO, "us", costs("paused", "hello"), "<=", 1.0, wrk.MISSING),
            _figure("HTTP reserve, API CPU a request", USUAL, "us", costs("paused", "usual")),
        ]
    return [
        _figure("HTTP reserve, API CPU a request", HELLO, "us", costs("paused", "hello"), "<=", 1.0),
        _figure("HTTP reserve, requests a second, flusher paused", HELLO, "/s", rates("paused", "hello"), ">=", 0.6),
        _figure("HTTP reserve, requests a second, flusher running", HELLO, "/s", rates("running", "hello")),
        _figure("HTTP reserve, requests a second, flusher paused", USUAL, "/s", rates("paused", "usual"), ">=", 5.0),
        _figure("HTTP reserve, API CPU a request", USUAL, "us", costs("paused", "usual")),
    ]


def _figure(  # noqa: PLR0917
    what: str,
    against: str,
    unit: str,
    found: Compared,
    comparison: Comparison = "",
    goal: float | None = None,
    note: str = "",
) -> Figure:
    return found.figure(
        what=what,
        rival=against,
        unit=unit,
        comparison=comparison,
        goal=goal,
        note=note,
        command=COMMAND,
    )


def _turn(server: HttpServer, load: Callable[[], wrk.Load]) -> Turn:
    before = cpu_seconds(server.pid)
    result = load()
    spent = cpu_seconds(server.pid) - before
    return Turn(rate=result.rate, cpu_us=spent / result.requests * 1e6)


async def _stock(redis_url: str) -> None:
    engine = await Engine.connect(redis_url, EngineSettings())
    await stock_up(engine, sku_names(SKUS))
    await engine.close()


def _stock_rival(server: EmbeddedRedis) -> None:
    with server.client() as client:
        for sku in sku_names(SKUS):
            client.hset(textbook_script.stock_key(sku), mapping=textbook_script.stock_fields())


def _drain(redis_server: EmbeddedRedis, database: EmbeddedPostgres) -> None:
    """Wait until the ledger has everything that was reserved while the flusher was paused."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    with redis_server.client() as client, psycopg.connect(database.url, autocommit=True) as connection:
        seq = int(client.hget("{h00}:meta", "seq") or 0)
        while True:
            row = connection.execute("SELECT seq FROM journal_cursors WHERE partition = 0").fetchone()
            if row is not None and row[0] >= seq:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the flusher stands at {row}, far from {seq}")
            time.sleep(0.02)


if __name__ == "__main__":
    run_alone(measure, "An HTTP reserve")
