"""Many clients on few SKUs, connections cut under them: every answer checked, by the search and by the account.

`HOLDFAST_CHECKED_OPERATIONS=200000` runs longer, `HOLDFAST_CHECKED_SEED=n` sends the same again (at other
moments), `HOLDFAST_CHECKED_KEEP=folder` keeps the histories there, for `python -m tests.checkers FILE`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from engine import Configure, Engine, EngineSettings
from engine.bootstrap import open_partition
from engine.events import Entry, decode_entry
from engine.keys import partition_keys
from runtime.embedded_redis import EmbeddedRedis
from tests.checkers.accounting import account
from tests.checkers.history import write_events
from tests.checkers.linearizability import check
from tests.checkers.recorder import EngineClient, Recorder
from tests.checkers.resolving import resolved
from tests.checkers.workload import Shoppers
from tests.link_proxy import LinkProxy, now_and_then

OPERATIONS = int(os.environ.get("HOLDFAST_CHECKED_OPERATIONS", "21000"))
SEED = int(os.environ.get("HOLDFAST_CHECKED_SEED", str(random.randrange(10**9))))
PARTS = 2
KEEP = os.environ.get("HOLDFAST_CHECKED_KEEP", "")
STOCK = {"A": 20, "B": 12, "C": 12}
CHOICES = [(("A", 1),), (("A", 2),), (("A", 3),), (("B", 1),), (("C", 2),), (("B", 1), ("C", 1))]
KEYS = partition_keys(0)


def journal(client: redis.Redis) -> list[Entry]:
    return [decode_entry(fields[b"b"]) for _, fields in client.xrange(KEYS.journal)]  # type: ignore[union-attr]


async def opened(engine: Engine, recorder: Recorder) -> None:
    for sku, units in STOCK.items():
        assert (await engine.execute(Configure(sku, 0, 0, True, units, "admin"))).status == "ok"
        recorder.stock(sku, units)


@pytest.mark.parametrize("clients", [8, 32])
@pytest.mark.timeout(max(300, OPERATIONS // 100))
async def test_every_answer_under_cut_connections(
    clients: int, redis_url: str, redis_server: EmbeddedRedis, redis_client: redis.Redis, server_folder: Path
) -> None:
    seed, operations = SEED + clients, OPERATIONS // 2
    print(f"HOLDFAST_CHECKED_SEED={SEED} clients {clients}")
    open_partition(redis_client, epoch=1, ledger_seq=0)
    recorder = Recorder()
    # For Redis only batches are cut: a connection must get through its opening.
    async with LinkProxy(redis_server.socket_path, cuts_at=now_and_then(seed, 25, b"EVALSHA")) as proxy:
        await proxy.start(socket := server_folder / "cut.sock")
        direct = await Engine.connect(redis_url, EngineSettings(epoch=1))
        await opened(direct, recorder)
        # As two processes would: one of them on a bad line.
        cut = await Engine.connect(f"unix://{quote(str(socket))}?db=0", EngineSettings(epoch=1))
        shoppers = [EngineClient(f"c{place}", cut if place % 2 else direct, recorder) for place in range(clients)]
        shop = Shoppers(shoppers, CHOICES, seed)
        for part in range(PARTS):
            await shop.run(operations // PARTS + 1)
            # Holds of one second must meet their deadline while others are at work, and when nobody is.
            await (asyncio.sleep(0.55) if part < PARTS - 1 else shop.walk_away())
        await asyncio.sleep(1.1)
        await shop.look_back()
        await cut.close()
        await direct.close()
    history = recorder.history()
    if KEEP:
        with (Path(KEEP) / f"run-{SEED}-{clients}.jsonl").open("wb") as file:
            write_events(file, recorder.events)

    entries = journal(redis_client)
    verdict = check(resolved(history, entries))
    told = account(history, entries)

    print(verdict, proxy.cuts, f"{history.unknown} unknown", f"{told.events} events")
    print(Counter(f"{one.call.verb} {one.status}" for one in history.operations))
    assert verdict.reason == ""
    assert told.problems == ()
    assert len(history.operations) >= operations
    assert proxy.cuts.total() > 0
    assert history.unknown > 0
    assert any(one.status == "expired" for one in history.operations)
    counters = {
        sku.decode(): tuple(int(number) for number in value.split(b" ")[:2])
        for sku, value in redis_client.hgetall(KEYS.stock).items()  # type: ignore[union-attr]
    }
    assert told.counters == counters
