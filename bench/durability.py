"""What each durability level costs: confirms a second of 64 callers over HTTP, and what a single caller waits.

    python -m bench.durability

Compares every level with `journal` of the same run. `journal`, `replicated` (one replica, on this machine) and
`ledger` are asked of one service by header, `fsync` of one whose Valkey syncs every write. The flusher runs in all of
them. Caveat: one core has the API, the other everything else, so that `ledger` pays for Postgres and the worker with
the core of Valkey and of the load generator; a replica on another machine answers as late as its network.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import psycopg
import uvloop
from msgspec import Struct

from bench import wrk
from bench.commands import reserves, sku_names, stock_up
from bench.cores import LOAD, on_core, require_two_cores
from bench.figures import Comparison, Figure, number
from bench.generator import Generator, confirms, percentile
from bench.rounds import Scale, compare, run_alone
from bench.servers import STOREFRONT_KEY, holdfast_api, holdfast_worker, postgres, replica_of, scratch_folder, valkey
from engine import Engine, EngineSettings
from engine.identity import make_id
from persistence.database_url import psycopg_url
from runtime.http_socket import bind_http_socket

COMMAND = "python -m bench.durability"
SECONDS: Final = 2.0
SKUS: Final = 1_000
MOST_A_SECOND: Final = 25_000
"""More than one API process answers."""
SINGLE: Final = 200
"""Confirms of the single caller."""
LEVELS: Final = ("journal", "fsync", "replicated", "ledger")
GOALS: Final[dict[str, tuple[Comparison, float]]] = {"ledger": (">=", 0.4)}
CAUGHT_UP_S: Final = 300.0


class Deployment(Struct, frozen=True):
    """A running service."""

    port: int
    redis_url: str
    database_url: str


def measure(scale: Scale) -> list[Figure]:
    """Rates and latencies of every level."""
    require_two_cores()
    rates: dict[str, list[float]] = {level: [] for level in LEVELS}
    waits: dict[str, list[float]] = {level: [] for level in LEVELS}
    seconds = scale.seconds(SECONDS)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        plain, synced = stack.enter_context(_with_replica()), stack.enter_context(_with_every_write_synced())
        for turn in range(scale.rounds):
            # Each round begins elsewhere: what comes first meets a machine at rest.
            for level in (*LEVELS[turn % 4 :], *LEVELS[: turn % 4]):
                where = synced if level == "fsync" else plain
                ids = _holds(where, folder / "ids", round(seconds * MOST_A_SECOND))
                rates[level].append(wrk.confirm(where.port, seconds, STOREFRONT_KEY, level, ids).rate)
                ids = _holds(where, folder / "ids", scale.of(SINGLE))
                waits[level] += _single(where, level, ids)
    return [
        *(_rate_figure(level, rates) for level in LEVELS if level != "journal"),
        *(_wait_figure(level, waits[level]) for level in LEVELS),
    ]


def _rate_figure(level: str, rates: dict[str, list[float]]) -> Figure:
    found = compare(list(zip(rates[level], rates["journal"], strict=True)))
    comparison: Comparison
    comparison, goal = GOALS.get(level, ("", None))
    return found.figure(
        what=f"HTTP confirms of 64 callers a second, durability {level}",
        rival="durability journal",
        unit="/s",
        comparison=comparison,
        goal=goal,
        command=COMMAND,
    )


def _wait_figure(level: str, waits: list[float]) -> Figure:
    return Figure(
        what=f"HTTP confirm of a single caller, median, durability {level}",
        unit="ms",
        ours=statistics.median(waits),
        note=f"99th percentile {number(percentile(waits, 0.99))} ms",
        command=COMMAND,
    )


@contextmanager
def _with_replica() -> Iterator[Deployment]:
    with bind_http_socket("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    lines = [f"port {port}", "repl-diskless-sync-delay 0"]
    environment = {"HOLDFAST_REPLICAS": "1", "HOLDFAST_REPLICA_TIMEOUT_MS": "4000"}
    with (
        valkey(extra=lines) as server,
        replica_of(port),
        postgres() as database,
        _service(server.url, database.url, environment) as deployment,
    ):
        yield deployment


@contextmanager
def _with_every_write_synced() -> Iterator[Deployment]:
    environment = {"HOLDFAST_DURABILITY": "fsync"}
    with (
        valkey("always") as server,
        postgres() as database,
        _service(server.url, database.url, environment) as deployment,
    ):
        yield deployment


@contextmanager
def _service(redis_url: str, database_url: str, environment: dict[str, str]) -> Iterator[Deployment]:
    uvloop.run(_stock(redis_url))
    with holdfast_api(redis_url, database_url, environment) as server, holdfast_worker(redis_url, database_url):
        yield Deployment(server.port, redis_url, database_url)


async def _stock(redis_url: str) -> None:
    engine = await Engine.connect(redis_url, EngineSettings())
    await stock_up(engine, sku_names(SKUS))
    await engine.close()


def _holds(where: Deployment, file: Path, how_many: int) -> Path:
    """Make holds, wait until the ledger has them, and write their ids into `file`."""
    cursor = "SELECT epoch, seq FROM journal_cursors WHERE partition = 0"
    with psycopg.connect(psycopg_url(where.database_url), autocommit=True) as connection:
        (epoch, _) = connection.execute(cursor).fetchone() or (1, 0)
        ids, reached = uvloop.run(_reserve(where.redis_url, epoch, how_many))
        deadline = time.monotonic() + CAUGHT_UP_S
        while (connection.execute(cursor).fetchone() or (0, 0)) < reached:
            if time.monotonic() > deadline:
                raise RuntimeError("the flusher does not catch up")
            time.sleep(0.05)
        connection.execute("CHECKPOINT")
    file.write_text("\n".join(ids))
    return file


async def _reserve(redis_url: str, epoch: int, how_many: int) -> tuple[list[str], tuple[int, int]]:
    """The ids of new holds, and the (epoch, seq) of the last."""
    engine = await Engine.connect(redis_url, EngineSettings(epoch=epoch))
    commands = list(islice(reserves(sku_names(SKUS)), how_many))
    replies = await engine.apply_raw(commands)
    state = await engine.journal_state()
    await engine.close()
    ids = [make_id(command.base, reply.now_ms) for command, reply in zip(commands, replies, strict=True)]
    return ids, (state.epoch, state.seq)


def _single(where: Deployment, level: str, ids: Path) -> list[float]:
    listed = ids.read_text().split()
    with on_core(LOAD):
        generator = Generator(where.port, 1, confirms(where.port, STOREFRONT_KEY, level, listed))
        timings = generator.one_at_a_time(len(listed))
        generator.close()
    if timings.refused:
        raise RuntimeError(f"{timings.refused} confirms of the single caller were refused")
    return timings.latencies_ms


if __name__ == "__main__":
    run_alone(measure, "What durability costs")
