"""What a reserve costs Valkey's CPU while 1,000,000 holds are live, against 1,000.

    python -m bench.million_holds

Compares two servers that run at the same time, measured in turn, with batches of 64 over 1,000 SKUs; what a round adds
is released again before the next. Caveat: the append-only file is not rewritten meanwhile (see bench/servers.py).
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import uvloop

from bench.commands import OWNER, reserves, sku_names, stock_up
from bench.cores import SERVER, on_core
from bench.cpu import cpu_seconds
from bench.figures import Figure
from bench.rounds import Scale, in_turn, run_alone
from bench.servers import valkey
from engine import Engine, EngineSettings
from engine.commands import Release, Reserve
from engine.keys import partition_keys
from engine.results import Reply
from runtime.embedded_redis import EmbeddedRedis

COMMAND = "python -m bench.million_holds"
BATCH: Final = 64
MANY: Final = 1_000_000
FEW: Final = 1_000
SKUS: Final = 1_000
KEYS: Final = partition_keys(0)


def measure(scale: Scale) -> list[Figure]:
    """Microseconds of Valkey CPU a reserve with many and with few live holds."""
    many_holds = scale.of(MANY)
    with valkey() as many, valkey() as few:
        for server, holds in ((many, many_holds), (few, FEW)):
            uvloop.run(_fill(server, holds))
        found = in_turn(
            scale.rounds,
            lambda: uvloop.run(_cost(many, scale)),
            lambda: uvloop.run(_cost(few, scale)),
        )
    return [
        found.figure(
            what=f"Redis CPU a reserve with {many_holds:,} live holds, batches of {BATCH}",
            rival=f"the same with {FEW:,} live holds",
            unit="us",
            comparison="<=",
            goal=1.5,
            command=COMMAND,
        )
    ]


async def _fill(server: EmbeddedRedis, holds: int) -> None:
    engine = await Engine.connect(server.url, EngineSettings())
    skus = sku_names(SKUS)
    await stock_up(engine, skus)
    supply = reserves(skus)
    with server.client() as client:
        for start in range(0, holds, 10_000):
            await _all_ok(engine, list(islice(supply, min(10_000, holds - start))))
            # The flusher would have trimmed it: the journal is no part of what a live hold costs.
            client.xtrim(KEYS.journal, maxlen=0, approximate=False)
    await engine.close()


async def _all_ok(engine: Engine, commands: list[Reserve] | list[Release]) -> list[Reply]:
    replies = await engine.apply_raw(commands)
    if any(reply.status != "ok" for reply in replies):
        raise RuntimeError("a command of the benchmark was refused")
    return replies


async def _cost(server: EmbeddedRedis, scale: Scale) -> float:
    # One link: what is submitted together then travels as one batch of exactly this size.
    engine = await Engine.connect(server.url, EngineSettings(links=1))
    supply = reserves(sku_names(SKUS))
    batches = scale.of(400)
    made: list[Release] = []

    async def send(how_many: int) -> None:
        for _ in range(how_many):
            commands = list(islice(supply, BATCH))
            replies = await _all_ok(engine, commands)
            made.extend(
                Release(command.base, reply.now_ms, OWNER, OWNER)
                for command, reply in zip(commands, replies, strict=True)
            )

    with on_core(SERVER):
        await send(scale.of(40))
        before = cpu_seconds(server.process.pid)
        await send(batches)
        spent = cpu_seconds(server.process.pid) - before
        await _all_ok(engine, made)
    await engine.close()
    with server.client() as client:
        # Records of ended holds stay for an hour; 1,000 live holds among 100,000 ended ones would not be few.
        names = [KEYS.record(release.base) for release in made]
        for start in range(0, len(names), 1000):
            client.delete(*names[start : start + 1000])
        client.xtrim(KEYS.journal, maxlen=0, approximate=False)
    return spent / (batches * BATCH) * 1e6


if __name__ == "__main__":
    run_alone(measure, "A reserve with a million live holds")
