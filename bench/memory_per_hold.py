"""Bytes of Valkey memory that a live hold costs: its record, its deadline, its share of every table.

    python -m bench.memory_per_hold

Compares with nothing; `used_memory` before and after, journal trimmed as the flusher leaves it. Caveat: hash tables
grow in doublings, so the figure moves by some bytes with the number of holds; it is taken at three sizes and the worst
is reported. Holds as a keyed HTTP reserve makes them: one line, a customer id of 15 characters, a fingerprint.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import uvloop

from bench.commands import reserves, sku_names, stock_up
from bench.figures import Figure, number
from bench.rounds import Scale, run_alone
from bench.servers import reopen, valkey
from engine import Engine, EngineSettings
from engine.keys import partition_keys
from runtime.embedded_redis import EmbeddedRedis

COMMAND = "python -m bench.memory_per_hold"
SIZES: Final = (100_000, 200_000, 300_000)
SKUS: Final = 1_000
CHUNK: Final = 10_000


def measure(scale: Scale) -> list[Figure]:
    """Bytes a live hold, the worst of the sizes."""
    with valkey() as server:
        found = uvloop.run(_bytes_a_hold(server, [scale.of(size) for size in SIZES]))
    return [
        Figure(
            what="memory a live hold, all keys, journal trimmed",
            unit="bytes",
            ours=max(found.values()),
            comparison="<=",
            goal=350,
            goal_on="ours",
            note="; ".join(f"{size:,} holds: {number(value)} bytes each" for size, value in found.items()),
            command=COMMAND,
        )
    ]


async def _bytes_a_hold(server: EmbeddedRedis, sizes: list[int]) -> dict[int, float]:
    reopen(server)
    engine = await Engine.connect(server.url, EngineSettings())
    skus = sku_names(SKUS)
    await stock_up(engine, skus)
    supply = reserves(skus)
    found = {}
    with server.client() as client:

        def used() -> int:
            client.xtrim(partition_keys(0).journal, maxlen=0, approximate=False)
            return int(client.info("memory")["used_memory"])

        # One of everything first, so that buffers and tables which do not grow with holds are not counted.
        await engine.apply_raw(list(islice(supply, CHUNK)))
        before, held = used(), 0
        for size in sizes:
            while held < size:
                replies = await engine.apply_raw(list(islice(supply, min(CHUNK, size - held))))
                if any(reply.status != "ok" for reply in replies):
                    raise RuntimeError("a reserve of the benchmark was refused")
                held += len(replies)
            found[size] = (used() - before) / held
    await engine.close()
    return found


if __name__ == "__main__":
    run_alone(measure, "Memory a live hold")
