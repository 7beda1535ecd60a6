"""Reservations a second from a Python program that uses the engine without HTTP.

    python -m bench.engine_inprocess

Compares with figures published for the same reserve (64 callers of one each; batches) through a purpose-built two-phase
ledger database on this class of machine, synced to disk. Caveat: those two are constants, not run here; the rows with
AOF always are the ones that are synced to disk before an answer, as they were. The program has one core, Valkey one.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Final

import uvloop

from bench.commands import reserve, sku_names, stock_up
from bench.cores import SERVER, on_core
from bench.figures import Figure
from bench.rounds import Scale, run_alone
from bench.servers import reopen, valkey
from engine import Engine, EngineSettings
from runtime.embedded_redis import AppendFsync, EmbeddedRedis

COMMAND = "python -m bench.engine_inprocess"

CALLERS: Final = 64
BATCH: Final = 1024
BATCHES_AT_ONCE: Final = 2
"""Callers of `apply_raw`: while Redis works on the batch of one, the other makes its next."""

PUBLISHED_SINGLE: Final = 9_900.0
PUBLISHED_BATCHED: Final = 70_000.0
"""Two-phase transfers a second of the ledger database: 64 callers of one each, and in its own batches."""

SECONDS: Final = 3.0


def measure(scale: Scale) -> list[Figure]:
    """Reserves a second, both ways of calling, both AOF policies."""
    figures = []
    policies: tuple[AppendFsync, ...] = ("everysec", "always")
    for appendfsync in policies:
        with valkey(appendfsync) as server:
            single, batched = [], []
            for _ in range(scale.rounds):
                single.append(_run(server, scale, batched=False))
                batched.append(_run(server, scale, batched=True))
        figures += [
            _figure(f"engine in process, {CALLERS} callers of one reserve", appendfsync, single, PUBLISHED_SINGLE, 5.0),
            _figure(f"engine in process, batches of {BATCH:,}", appendfsync, batched, PUBLISHED_BATCHED, 1.1),
        ]
    return figures


def _figure(what: str, appendfsync: str, rates: list[float], published: float, goal: float) -> Figure:
    return Figure(
        what=f"{what}, AOF {appendfsync}",
        rival="two-phase ledger database (published, not run here)",
        unit="/s",
        ours=statistics.median(rates),
        theirs=published,
        ratio=statistics.median(rates) / published,
        lowest=min(rates) / published,
        highest=max(rates) / published,
        comparison=">=",
        goal=goal,
        command=COMMAND,
    )


def _run(server: EmbeddedRedis, scale: Scale, *, batched: bool) -> float:
    with on_core(SERVER):
        return uvloop.run(_rate(server, scale, batched=batched))


async def _rate(server: EmbeddedRedis, scale: Scale, *, batched: bool) -> float:
    reopen(server)
    engine = await Engine.connect(server.url, EngineSettings())
    skus = sku_names(1000)
    await stock_up(engine, skus)
    counts = [0] * (BATCHES_AT_ONCE if batched else CALLERS)

    async def call_single(place: int) -> None:
        number = place
        while not stop:
            result = await engine.execute(reserve(skus[number % len(skus)]))
            if result.status != "ok":
                raise RuntimeError(f"a reserve of the benchmark was answered {result.status}")
            counts[place] += 1
            number += CALLERS

    async def call_batched(place: int) -> None:
        while not stop:
            replies = await engine.apply_raw([reserve(skus[number % len(skus)]) for number in range(BATCH)])
            if any(reply.status != "ok" for reply in replies):
                raise RuntimeError("a reserve of the benchmark was refused")
            counts[place] += BATCH

    stop = False
    call = call_batched if batched else call_single
    callers = [asyncio.ensure_future(call(place)) for place in range(len(counts))]
    await asyncio.sleep(scale.seconds(0.5))
    before, started = sum(counts), time.perf_counter()
    await asyncio.sleep(scale.seconds(SECONDS))
    done, took = sum(counts) - before, time.perf_counter() - started
    stop = True
    await asyncio.gather(*callers)
    await engine.close()
    return done / took


if __name__ == "__main__":
    run_alone(measure, "The engine in process")
