"""How long an HTTP reserve takes at half of the peak rate, requests arriving when they like (open loop).

    python -m bench.latency_half_peak

Compares with the idle round trip in the same run: one request at a time. Peak is what wrk reaches with 64 connections.
Arrivals are a Poisson process, and each latency counts from the scheduled instant (bench/generator.py). Caveat: the
generator, in Python, shares its core with Valkey, which goes first; how late the generator was itself is in the note,
and is part of every latency. On a machine that others use, the idle round trip grows more than the other: believe the
ratio only when that share, which bench/run.py prints, is small.
"""

from __future__ import annotations

import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Final

import uvloop

from bench import wrk
from bench.commands import sku_names, stock_up
from bench.cores import LOAD, require_two_cores
from bench.figures import Figure, number
from bench.generator import Generator, Timings, percentile, reserves
from bench.rounds import Scale, compare, run_alone
from bench.servers import STOREFRONT_KEY, HttpServer, holdfast_api, postgres, valkey
from engine import Engine, EngineSettings

COMMAND = "python -m bench.latency_half_peak"
SECONDS: Final = 4.0
IDLE_REQUESTS: Final = 2_000
SKUS: Final = 1_000
SEED: Final = 20_260


def measure(scale: Scale) -> list[Figure]:
    """p50 at half of peak against p50 idle, and p99."""
    wrk.require_wrk()
    require_two_cores()
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        uvloop.run(_stock(redis_server.url))
        server = stack.enter_context(holdfast_api(redis_server.url, database.url))
        return _latencies(server, scale)


def _latencies(server: HttpServer, scale: Scale) -> list[Figure]:
    pairs, p99s, p999s, late, rates = [], [], [], [], []
    for turn in range(scale.rounds):
        peak = wrk.reserve(server.port, scale.seconds(2.0), STOREFRONT_KEY, SKUS).rate
        # A process of its own, since what it does to its priority cannot be taken back.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
            idle, loaded = apart.submit(
                _generate, server.port, scale.of(IDLE_REQUESTS), peak / 2, scale.seconds(SECONDS), SEED + turn
            ).result()
        if idle.refused or loaded.refused:
            raise wrk.LoadFailed(f"{idle.refused + loaded.refused} requests were refused")
        pairs.append((percentile(loaded.latencies_ms, 0.5), percentile(idle.latencies_ms, 0.5)))
        p99s.append(percentile(loaded.latencies_ms, 0.99))
        p999s.append(percentile(loaded.latencies_ms, 0.999))
        late.append(percentile(loaded.lateness_ms, 0.99))
        rates.append(peak / 2)
    found = compare(pairs)
    rate = statistics.median(rates)
    return [
        found.figure(
            what=f"HTTP reserve, p50 at half of peak ({number(rate)}/s), open loop",
            rival="the idle round trip, p50",
            unit="ms",
            comparison="<=",
            goal=3.0,
            note=f"seeds {SEED} to {SEED + scale.rounds - 1}",
            command=COMMAND,
        ),
        Figure(
            what="HTTP reserve, p99 at half of peak, open loop",
            unit="ms",
            ours=statistics.median(p99s),
            note=f"p99.9 {number(statistics.median(p999s))} ms; the generator itself was late by "
            f"{number(statistics.median(late))} ms at its p99",
            command=COMMAND,
        ),
    ]


def _generate(port: int, idle_requests: int, rate: float, seconds: float, seed: int) -> tuple[Timings, Timings]:
    """The idle round trip, then the open loop, from the load core."""
    os.sched_setaffinity(0, {LOAD})
    # A customer's computer does not take turns with the shop's database: whenever Valkey has work, it goes first.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    generator = Generator(port, wrk.CONNECTIONS, reserves(port, STOREFRONT_KEY, SKUS))
    idle = generator.one_at_a_time(idle_requests)
    loaded = generator.open_loop(rate, seconds, seed)
    generator.close()
    return idle, loaded


async def _stock(redis_url: str) -> None:
    engine = await Engine.connect(redis_url, EngineSettings())
    await stock_up(engine, sku_names(SKUS))
    await engine.close()


if __name__ == "__main__":
    run_alone(measure, "Latency at half of peak")
