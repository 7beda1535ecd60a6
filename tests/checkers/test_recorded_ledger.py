"""A run under load with the flusher behind it: each acknowledged operation once in the journal, once in the ledger."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter

import redis
from msgspec.structs import replace

from engine import Configure, Engine
from engine.events import decode_entry
from engine.keys import partition_keys
from tests.checkers.accounting import account
from tests.checkers.ledger_rows import archived_entries, flushed_seq, ledger_rows
from tests.checkers.linearizability import check
from tests.checkers.recorder import EngineClient, Recorder
from tests.checkers.resolving import resolved
from tests.checkers.workload import Shoppers
from tests.waiting import eventually
from worker.flusher import Flusher

SEED = int(os.environ.get("HOLDFAST_CHECKED_SEED", str(random.randrange(10**9))))
KEYS = partition_keys(0)
STOCK = {"A": 40, "B": 25}


async def test_journal_and_ledger_after_a_busy_run(
    engine: Engine, redis_url: str, redis_client: redis.Redis, database_url: str
) -> None:
    print(f"HOLDFAST_CHECKED_SEED={SEED}")
    flusher = Flusher(redis_url, database_url)
    thread = threading.Thread(target=flusher.run, daemon=True)
    thread.start()
    recorder = Recorder()
    for sku, units in STOCK.items():
        await engine.execute(Configure(sku, 0, 0, True, units, "admin"))
        recorder.stock(sku, units)
    clients = [EngineClient(f"c{place}", engine, recorder) for place in range(16)]
    await Shoppers(clients, [(("A", 1),), (("A", 2),), (("B", 1),), (("A", 1), ("B", 1))], SEED).run(3_000)
    state = await engine.journal_state()
    await eventually(lambda: flushed_seq(database_url) == state.seq, 60, "the ledger has all of it")
    flusher.stop()
    thread.join(60)
    assert not thread.is_alive()

    stream = [decode_entry(fields[b"b"]) for _, fields in redis_client.xrange(KEYS.journal)]  # type: ignore[union-attr]
    archived, rows = archived_entries(database_url), ledger_rows(database_url)
    history = recorder.history()
    told = account(history, archived + stream, rows)

    print(f"{told.events} events, {len(rows)} rows", Counter(one.status for one in history.operations))
    assert told.problems == ()
    assert [entry.first_seq for entry in archived] == [entry.first_seq for entry in stream]
    assert check(resolved(history, archived)).reason == ""
    assert len(rows) > 100

    # The same, with one row less, or an acknowledged change that the journal does not have.
    assert not account(history, archived, rows[:-1]).ok
    assert not account(history, archived[:-1], rows).ok
    last = next(one for one in reversed(history.operations) if one.status == "insufficient_stock")
    assert last.answer is not None
    false = replace(last, answer=replace(last.answer, status="ok", short=None))
    lie = replace(history, operations=tuple(false if one is last else one for one in history.operations))
    assert not account(lie, archived, rows).ok
    look = next(one for one in history.operations[1_500:] if one.call.verb == "availability")
    assert look.answer is not None
    assert look.answer.available is not None
    ((sku, units), *more) = look.answer.available
    false = replace(look, answer=replace(look.answer, available=((sku, units + 1_000), *more)))
    lie = replace(history, operations=tuple(false if one is look else one for one in history.operations))
    assert not check(resolved(lie, archived), max_steps=20_000).ok
