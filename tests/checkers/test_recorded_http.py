"""Buyers over HTTP, through the hot path and a flusher: every answer checked as those of the engine are."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter

import httpx
import pytest
import redis

from engine import Configure
from engine.keys import partition_keys
from tests.checkers.accounting import account
from tests.checkers.http_recorder import VERBS, HttpClient
from tests.checkers.ledger_rows import archived_entries, flushed_seq, ledger_rows
from tests.checkers.linearizability import check
from tests.checkers.recorder import Recorder
from tests.checkers.resolving import resolved
from tests.checkers.workload import Shoppers
from tests.http.running import ADAPTERS, KEYS, RunningService
from tests.waiting import wait_until

SEED = int(os.environ.get("HOLDFAST_CHECKED_SEED", str(random.randrange(10**9))))
OPERATIONS = 500
STOCK = {"A": 300, "B": 200}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_answer_over_http(adapter: str, redis_url: str, redis_client: redis.Redis, database_url: str) -> None:
    print(f"HOLDFAST_CHECKED_SEED={SEED}")
    service = RunningService(redis_url, database_url).start()
    recorder = Recorder()
    for sku, units in STOCK.items():
        command = Configure(sku, 0, 0, True, units, "admin")
        service.run(lambda command=command: service.services.engine.execute(command))
        recorder.stock(sku, units)

    async def shop() -> None:
        headers = {"authorization": f"Bearer {KEYS['storefront']}"}
        limits = httpx.Limits(max_connections=8)
        async with httpx.AsyncClient(
            base_url=service.address(adapter), headers=headers, timeout=20, trust_env=False, limits=limits
        ) as http:
            clients = [HttpClient(f"c{place}", http, recorder, "storefront") for place in range(8)]
            choices = [(("A", 9),), (("A", 20),), (("B", 15),), (("A", 5), ("B", 5))]
            await Shoppers(clients, choices, SEED, VERBS).run(OPERATIONS)

    asyncio.run(shop())
    seq = int(redis_client.hget(partition_keys(0).meta, "seq") or 0)  # type: ignore[arg-type]
    wait_until(lambda: flushed_seq(database_url) == seq, 60, "the ledger has all of it")
    service.stop()
    entries, history = archived_entries(database_url), recorder.history()

    verdict = check(resolved(history, entries))
    told = account(history, entries, ledger_rows(database_url))

    print(verdict, Counter(f"{one.call.verb} {one.status}" for one in history.operations))
    assert verdict.reason == ""
    assert told.problems == ()
    assert len(history.operations) >= OPERATIONS
