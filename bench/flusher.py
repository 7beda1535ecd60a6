"""Confirm events a second from the journal into Postgres: ledger rows, reservation rows, levels and cursor.

    python -m bench.flusher

Compares with one bare COPY of the same ledger rows, ready-made, into the same table (same indexes, checks and trigger)
of a second database on the same server. The flusher drains a journal that waits for it, in its own transactions; the
COPY is one transaction. Caveat: the program has one core and Postgres the other, as in a shop that does nothing else;
both commit synced to disk.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Final

import psycopg
import uvloop

from bench.commands import OWNER, reserves, sku_names, stock_up
from bench.cores import SERVER, on_core
from bench.figures import Figure, number
from bench.rounds import Scale, compare, run_alone
from bench.servers import postgres, valkey
from engine import Engine, EngineSettings
from engine.commands import Confirm
from persistence.copy_rows import COPY_LEDGER
from persistence.database_url import psycopg_url
from persistence.migrate import upgrade
from runtime.embedded_postgres import EmbeddedPostgres
from worker.flusher import Flusher, FlusherSettings

COMMAND = "python -m bench.flusher"
EVENTS: Final = 40_000
SKUS: Final = 1_000
RIVAL: Final = "bare_copy"
_BATCH: Final = 64
"""Confirms in one batch, and so in one journal entry: what 64 HTTP callers make."""


def measure(scale: Scale) -> list[Figure]:
    """Events a second of the flusher, rows a second of COPY."""
    events = scale.of(EVENTS)
    pairs = []
    cpu: list[float] = []
    with valkey() as redis_server, postgres() as database:
        database.create_database(RIVAL)
        upgrade(database.database_url(RIVAL))
        uvloop.run(_stock(redis_server.url))
        for _ in range(scale.rounds):
            confirms = uvloop.run(_reserve(redis_server.url, events))
            _flush(redis_server.url, database)
            uvloop.run(_confirm(redis_server.url, confirms))
            _settle(database)
            seq = _ledger_seq(database)
            before, spent = time.perf_counter(), time.process_time()
            flushed = _flush(redis_server.url, database)
            took, spent = time.perf_counter() - before, time.process_time() - spent
            if flushed != events:
                raise RuntimeError(f"{flushed} ledger rows instead of {events}")
            cpu.append(spent / events * 1e6)
            _settle(database)
            pairs.append((events / took, _copy_rate(database, seq)))
    found = compare(pairs)
    return [
        found.figure(
            what="flusher, confirm events a second, reservation rows and cursor included",
            rival="bare COPY of the same ledger rows",
            unit="/s",
            comparison=">=",
            goal=0.3,
            note=f"{number(sorted(cpu)[len(cpu) // 2])} us of the flusher's own CPU an event, the rest is Postgres",
            command=COMMAND,
        )
    ]


async def _stock(redis_url: str) -> None:
    engine = await Engine.connect(redis_url, EngineSettings())
    await stock_up(engine, sku_names(SKUS))
    await engine.close()


async def _reserve(redis_url: str, events: int) -> list[Confirm]:
    engine = await Engine.connect(redis_url, EngineSettings())
    commands = list(islice(reserves(sku_names(SKUS)), events))
    replies = await engine.apply_raw(commands)
    await engine.close()
    return [
        Confirm(((command.base, reply.now_ms),), f"order-{command.base[:12]}", OWNER, OWNER)
        for command, reply in zip(commands, replies, strict=True)
    ]


async def _confirm(redis_url: str, confirms: list[Confirm]) -> None:
    engine = await Engine.connect(redis_url, EngineSettings(links=1))
    for start in range(0, len(confirms), _BATCH):
        replies = await engine.apply_raw(confirms[start : start + _BATCH])
        if any(reply.status != "ok" for reply in replies):
            raise RuntimeError("a confirm of the benchmark was refused")
    await engine.close()


def _flush(redis_url: str, database: EmbeddedPostgres) -> int:
    """Drain the journal; how many ledger rows that made."""
    flusher = Flusher(redis_url, database.url, FlusherSettings(drain_ms=120_000))
    # Asked to stop before it begins: it drains what is there, and returns.
    flusher.stop()
    with on_core(SERVER):
        flusher.run()
    return flusher.status.ledger_rows


def _settle(database: EmbeddedPostgres) -> None:
    with psycopg.connect(psycopg_url(database.url), autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def _ledger_seq(database: EmbeddedPostgres) -> int:
    with psycopg.connect(psycopg_url(database.url)) as connection:
        row = connection.execute("SELECT seq FROM journal_cursors WHERE partition = 0").fetchone()
    return int(row[0]) if row else 0


def _copy_rate(database: EmbeddedPostgres, after_seq: int) -> float:
    columns = COPY_LEDGER[COPY_LEDGER.index("(") : COPY_LEDGER.index(")") + 1]
    query = f"COPY (SELECT {columns[1:-1]} FROM inventory_transactions WHERE seq > {after_seq} ORDER BY seq)"  # noqa: S608
    with psycopg.connect(psycopg_url(database.url)) as source, source.cursor() as cursor:
        with cursor.copy(f"{query} TO STDOUT (FORMAT BINARY)".encode()) as copy:
            data = b"".join(bytes(part) for part in copy)
        rows = cursor.rowcount
    with on_core(SERVER), psycopg.connect(psycopg_url(database.database_url(RIVAL))) as target:
        started = time.perf_counter()
        with target.cursor() as cursor, cursor.copy(COPY_LEDGER.encode()) as copy:
            copy.write(data)
        target.commit()
        return rows / (time.perf_counter() - started)


if __name__ == "__main__":
    run_alone(measure, "The flusher")
