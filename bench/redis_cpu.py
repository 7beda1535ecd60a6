"""What a reserve costs Valkey's CPU: batches of 64 against the textbook script.

    python -m bench.redis_cpu

Compares with one EVALSHA a reservation (bench/rivals/textbook_script.py), sent in three ways: one at a time; one each
on 64 connections at the same time, as a busy service with a connection pool sends them (the goal counts here); and 64
in one pipeline, which nobody sends who answers each request on its own.
Caveat: CPU of all of Valkey's threads, so the write of the append-only file (everysec) is in both; the client's side
is in neither.
"""

from __future__ import annotations

import time
from itertools import count, islice

import uvloop

from bench.commands import reserves, sku_names, stock_up
from bench.cores import SERVER, on_core
from bench.cpu import cpu_seconds
from bench.figures import Figure
from bench.rivals import textbook_script
from bench.rounds import Scale, compare, run_alone
from bench.servers import reopen, valkey
from engine import Engine, EngineSettings
from engine.identity import random_base
from runtime.embedded_redis import EmbeddedRedis

COMMAND = "python -m bench.redis_cpu"
BATCH = 64
WAYS = {
    "one call at a time": (1, 1),
    f"one call each on {BATCH} connections": (BATCH, 1),
    f"{BATCH} calls in one pipeline": (1, BATCH),
}
"""How the textbook's calls are sent: (connections, calls at once on each)."""

GOAL_ON = f"one call each on {BATCH} connections"


def measure(scale: Scale) -> list[Figure]:
    """Microseconds of Valkey CPU a reserve, ours and the textbook's, one SKU and 1,000."""
    figures = []
    with valkey() as server:
        for skus in (1, 1000):
            figures += _with_skus(server, skus, scale)
    return figures


def _with_skus(server: EmbeddedRedis, how_many: int, scale: Scale) -> list[Figure]:
    skus = sku_names(how_many)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(scale.rounds):
        ours.append(uvloop.run(_ours(server, skus, scale)))
        for way, (connections, calls) in WAYS.items():
            theirs[way].append(_textbook(server, skus, connections, calls, scale))
    figures = []
    for way in WAYS:
        found = compare(list(zip(ours, theirs[way], strict=True)))
        figures.append(
            found.figure(
                what=f"Redis CPU a reserve, batches of {BATCH}, {how_many:,} SKU{'s' if how_many > 1 else ''}",
                rival=f"textbook script, {way}",
                unit="us",
                comparison="<=" if way == GOAL_ON else "",
                goal=0.55 if way == GOAL_ON else None,
                command=COMMAND,
            )
        )
    return figures


async def _ours(server: EmbeddedRedis, skus: list[str], scale: Scale) -> float:
    reopen(server)
    # One link and one caller, so that every batch has exactly this size, and nothing else runs while Valkey does: a
    # neighbour on the other half of a physical core would be charged to it.
    engine = await Engine.connect(server.url, EngineSettings(links=1))
    await stock_up(engine, skus)
    supply = reserves(skus)
    batches = scale.of(1000)

    async def send(how_many: int) -> None:
        for _ in range(how_many):
            replies = await engine.apply_raw(list(islice(supply, BATCH)))
            if any(reply.status != "ok" for reply in replies):
                raise RuntimeError("a reserve of the benchmark was refused")

    await send(scale.of(100))
    before, sent = cpu_seconds(server.process.pid), engine.batcher.batches
    with on_core(SERVER):
        await send(batches)
    spent = cpu_seconds(server.process.pid) - before
    if engine.batcher.batches - sent != batches:
        raise RuntimeError(f"{engine.batcher.batches - sent} batches instead of {batches} of {BATCH}")
    await engine.close()
    return spent / (batches * BATCH) * 1e6


def _textbook(server: EmbeddedRedis, skus: list[str], connections: int, calls: int, scale: Scale) -> float:
    with server.client() as client:
        client.flushall()
        for sku in skus:
            client.hset(textbook_script.stock_key(sku), mapping=textbook_script.stock_fields())
        sha = client.script_load(textbook_script.SCRIPT)
        pool = [client.connection_pool.get_connection() for _ in range(connections)]
        numbers = count()

        def pack() -> list[list[bytes]]:
            deadline_ms = int(time.time() * 1000) + 1_800_000
            return [
                connection.pack_commands(
                    textbook_script.call(sha, skus[next(numbers) % len(skus)], random_base(), deadline_ms)
                    for _ in range(calls)
                )
                for connection in pool
            ]

        def send(how_many: int) -> int:
            rounds = -(-how_many // (connections * calls))
            for _ in range(rounds):
                # Made before any of them is sent, so that we are idle while Valkey works, as with the engine.
                packed = pack()
                for connection, data in zip(pool, packed, strict=True):
                    connection.send_packed_command(data)
                if any(connection.read_response() != 1 for connection in pool for _ in range(calls)):
                    raise RuntimeError("a reserve of the textbook script was refused")
            return rounds * connections * calls

        send(scale.of(3_200))
        before = cpu_seconds(server.process.pid)
        with on_core(SERVER):
            sent = send(scale.of(32_000))
        spent = cpu_seconds(server.process.pid) - before
        for connection in pool:
            connection.disconnect()
            client.connection_pool.release(connection)
        return spent / sent * 1e6


if __name__ == "__main__":
    run_alone(measure, "CPU of Valkey a reserve")
