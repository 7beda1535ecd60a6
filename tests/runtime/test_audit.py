"""`holdfast audit`: silent on a store that is in order, names damage, repairs it when asked, told why, and agreed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest
import redis
from click.testing import Result
from typer.testing import CliRunner

from engine import Engine, EngineSettings, lines_text
from engine.bootstrap import open_partition
from engine.commands import Configure, Reserve
from engine.identity import derived_base
from persistence.database_url import psycopg_url
from persistence.ledger_writer import LedgerWriter
from runtime import audit as audit_command
from runtime.cli import app
from worker.service import Worker, WorkerSettings

SKUS = ("A", "B b", "C")
STOCK = "{h00}:stock"
REPAIR = ("--repair", "--reason", "somebody wrote to Redis")


class AuditedStore:
    """A store with holds, sales and releases, a worker on it, and the command as a person runs it."""

    def __init__(self, client: redis.Redis, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.database_url = database_url
        self._monkeypatch = monkeypatch

    async def audit(self, *arguments: str, answer: str | None = None) -> Result:
        """Run it in a thread of its own; `answer`: what a person at a terminal types."""
        self._monkeypatch.setattr(audit_command, "_confirmed", lambda: answer == "y") if answer else None
        return await asyncio.to_thread(CliRunner().invoke, app, ["audit", *arguments])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(psycopg_url(self.database_url), autocommit=True) as connection:
            found = connection.execute(query)
            return found.fetchall() if found.description else []

    def counters(self, sku: str) -> list[int]:
        have: Any = self.client.hget(STOCK, sku)
        return [int(number) for number in have.split()][:2]

    def drift(self, sku: str, on_hand: int = 0, reserved: int = 0) -> None:
        have: Any = self.client.hget(STOCK, sku)
        numbers = [int(number) for number in have.split()]
        self.client.hset(STOCK, sku, " ".join(map(str, [numbers[0] + on_hand, numbers[1] + reserved, *numbers[2:]])))


@pytest.fixture
async def store(
    redis_url: str,
    redis_client: redis.Redis,
    database_url: str,
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[AuditedStore]:
    open_partition(redis_client, 1, 0)
    engine = await Engine.connect(redis_url, EngineSettings())
    for sku in SKUS:
        await engine.execute(Configure(sku, 0, 0, True, 100, "admin"))
    holds = []
    for number in range(12):
        base = derived_base("reserve", "storefront", str(number))
        lines = lines_text((sku, 1 + number % 3) for sku in SKUS)
        command = Reserve(base, lines, 60_000, details='{"c":"ann"}', owner="storefront", fingerprint="f" * 16)
        holds.append((await engine.execute(command)).reservations[0].id)
    for hold in holds[:4]:
        await engine.confirm(hold, order_id=f"order-{hold}")
    for hold in holds[4:6]:
        await engine.release(hold)
    stop = asyncio.Event()
    working = asyncio.create_task(Worker(WorkerSettings(redis_url, database_url)).run(stop))
    seq = (await engine.journal_state()).seq
    writer = LedgerWriter(database_url, 0)
    await eventually(lambda: writer.read_cursor().seq == seq)
    writer.close()
    monkeypatch.setenv("HOLDFAST_REDIS_URL", redis_url)
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", database_url)
    yield AuditedStore(redis_client, database_url, monkeypatch)
    stop.set()
    await working
    await engine.close()


async def test_a_store_in_order_passes_every_check(store: AuditedStore) -> None:
    for arguments in ((), ("--quick",)):
        done = await store.audit(*arguments)
        assert done.exit_code == 0, done.output
        assert "differences" not in done.output
        assert "ACTIVE reservations" in done.output
    assert (await store.audit(*REPAIR)).exit_code == 0


async def test_damage_is_named_and_nothing_is_changed_unasked(store: AuditedStore) -> None:
    store.drift("A", on_hand=-1)
    store.drift("B b", reserved=1)
    store.client.zpopmin("{h00}:deadlines")
    for arguments in ((), ("--quick",)):
        done = await store.audit(*arguments)
        assert done.exit_code == 1
        assert "A: on_hand 92, expected 93" in done.output
        assert "B b: reserved " in done.output
        assert "no deadline in Redis" in done.output
        assert "A: on_hand +1, reserved +0" in done.output
        assert "B b: on_hand +0, reserved -1" in done.output
        assert "its deadline put back" in done.output
    assert store.counters("A")[0] == 92
    assert store.rows("SELECT count(*) FROM drift_repairs") == [(0,)]


async def test_the_same_in_json(store: AuditedStore) -> None:
    done = await store.audit("--json")
    assert done.exit_code == 0, done.exception
    in_order = json.loads(done.stdout)
    assert in_order["in_order"] is True
    assert all(not check["found"] for check in in_order["found"]["checks"])
    store.drift("A", on_hand=-1)
    done = await store.audit("--json", "--quick")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["in_order"] is False
    assert [(one["sku"], one["on_hand_change"]) for one in told["plan"]["counters"]] == [("A", 1)]
    done = await store.audit("--json", "--repair", "--yes", "--reason", "found by hand")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["in_order"] is True
    assert len(told["repaired"]) == 1


async def test_a_repair_without_a_reason_is_refused(store: AuditedStore) -> None:
    store.drift("A", on_hand=1)
    for reason in ((), ("--reason", "  x "), ("--reason", "x" * 501)):
        done = await store.audit("--repair", "--yes", *reason)
        assert done.exit_code == 2
        assert "--reason" in done.output
    assert store.counters("A")[0] == 94


async def test_a_repair_that_nobody_agrees_to_is_not_done(store: AuditedStore) -> None:
    store.drift("A", on_hand=1)
    unasked = await store.audit(*REPAIR)
    assert unasked.exit_code == 1
    assert "nobody to ask" in unasked.output
    assert (await store.audit(*REPAIR, answer="n")).exit_code == 1
    assert store.counters("A")[0] == 94


async def test_drift_is_repaired_on_record_and_the_audit_is_clean_afterwards(store: AuditedStore) -> None:
    store.drift("A", on_hand=1)
    store.drift("B b", on_hand=-3, reserved=2)
    store.client.zpopmin("{h00}:deadlines")
    done = await store.audit(*REPAIR, answer="y")
    assert done.exit_code == 0, done.output
    assert store.counters("A")[0] == 93
    assert (await store.audit()).exit_code == 0
    found = store.rows(
        "SELECT sku, quantity, reason, created_by LIKE 'audit%' FROM inventory_transactions"
        " WHERE reference_type = 'Reconciliation' ORDER BY sku, id"
    )
    why = "somebody wrote to Redis"
    assert found == [("A", 1, why, True), ("A", -1, why, True), ("B b", -3, why, True), ("B b", 3, why, True)]


async def test_what_a_person_must_decide_is_said(store: AuditedStore) -> None:
    store.rows("UPDATE inventory_levels SET on_hand = on_hand + 1 WHERE sku = 'C'")
    done = await store.audit(*REPAIR, "--yes")
    assert done.exit_code == 1
    assert "left to you:" in done.output
    assert "the ledger contradicts itself about this SKU" in done.output
    assert store.rows("SELECT count(*) FROM drift_repairs") == [(0,)]


async def test_no_verdict_is_exit_code_2(store: AuditedStore) -> None:
    store.client.hset("{h00}:meta", "epoch", 7)
    done = await store.audit()
    assert done.exit_code == 2
    assert "epoch 7" in done.output
    store.client.hset("{h00}:meta", "epoch", 1)
