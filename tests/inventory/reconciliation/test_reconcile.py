"""Reconciliation under load: silent on a store that is in order whatever happens meanwhile; each damage is seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.store_reader import StoreReader
from inventory.reconciliation import following
from inventory.reconciliation.reconcile import Depth, Reconciled, reconcile
from inventory.reconciliation.scheduled import DriftFound, reconcile_and_tell
from inventory.refusals import ReconciliationUnknown
from persistence.queries import reconciliation
from tests.inventory.reconciliation.conftest import KEYS, SKUS, Store
from tests.waiting import eventually


def told(found: Reconciled) -> set[tuple[str, str, int]]:
    return {(drift.counter, drift.sku, drift.actual - drift.expected) for drift in found.drift}


@pytest.mark.parametrize(("depth", "cycles"), [("live", 8), ("levels", 2), ("deep", 2)])
async def test_no_false_alarm_while_everything_moves(store: Store, depth: Depth, cycles: int) -> None:
    async with store.traffic() as came:
        for cycle in range(cycles):
            before = came()
            await eventually(lambda before=before: came() > before + 100)
            found = await reconcile(store.inventory, depth)
            assert found.drift == (), (cycle, found.drift[:5])
            assert found.checked_skus == len(SKUS)
            assert found.checked_holds > 0
    await store.flushed()
    assert (await reconcile(store.inventory, "deep")).drift == ()


async def test_no_false_alarm_while_the_flusher_stands_still(store: Store) -> None:
    """The ledger falls behind without end: what it must say is carried along by the journal."""
    async with store.traffic() as came:
        await eventually(lambda: came() > 100)
        store.stop_flusher()
        before = came()
        await eventually(lambda: came() > before + 300)
        found = await reconcile(store.inventory)
        assert found.drift == ()
        assert found.journal_lag_events > 300
        store.start_flusher()


async def test_no_false_alarm_about_holds_that_ended_while_the_ledger_stood_still(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger still calls ACTIVE what ended long ago in Redis: it must be looked at all the same."""
    monkeypatch.setattr(following, "OVERDUE_MS", 0)
    hold = await store.engine.reserve([("S-1", 2)], customer_id="ann", ttl_ms=1000)
    await store.flushed()
    store.stop_flusher()

    async def ended() -> bool:
        (level,) = await store.engine.availability(["S-1"])
        return level.reserved == 0

    await eventually(ended)
    assert store.rows("SELECT status FROM stock_reservations WHERE id = %s", hold.id) == [("ACTIVE",)]
    assert (await reconcile(store.inventory)).drift == ()


async def test_no_false_alarm_when_the_walk_is_slower_than_the_shop(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk is ever so old when it is compared: it is compared with what was right at its own moment."""
    real = StoreReader.counters

    async def slow(reader: StoreReader, cursor: int) -> Any:
        chunk = await real(reader, cursor)
        before = (await store.engine.journal_state()).seq

        async def moved_on() -> bool:
            return (await store.engine.journal_state()).seq > before + 200

        await eventually(moved_on)
        return chunk

    monkeypatch.setattr(StoreReader, "counters", slow)
    async with store.traffic():
        assert (await reconcile(store.inventory)).drift == ()


async def test_a_drift_of_one_is_found_in_one_cycle_under_load(store: Store) -> None:
    await store.engine.reserve([(SKUS[4], 2)], customer_id="ann", ttl_ms=600_000)
    async with store.traffic() as came:
        await eventually(lambda: came() > 100)
        store.drift(SKUS[1], on_hand=1)
        store.drift(SKUS[2], on_hand=-1)
        store.drift(SKUS[3], reserved=1)
        store.drift(SKUS[4], reserved=-1)
        found = await reconcile(store.inventory)
        assert told(found) >= {
            ("on_hand", SKUS[1], 1),
            ("on_hand", SKUS[2], -1),
            ("reserved", SKUS[3], 1),
            ("reserved", SKUS[4], -1),
        }
        # What Postgres keeps of `reserved` follows the counter; nothing else is accused.
        assert {drift.counter for drift in found.drift} <= {"on_hand", "reserved", "ledger_reserved"}
        assert {drift.sku for drift in found.drift} == set(SKUS[1:5])


async def test_a_drift_stays_the_same_while_its_sku_sells(store: Store) -> None:
    """The journal carries the drift into each balance, the flusher halts at the first: the verdict does not change."""
    sku = SKUS[5]
    async with store.traffic((sku,)) as came:
        await eventually(lambda: came() > 20)
        store.drift(sku, on_hand=3)
        await eventually(lambda: store.flusher.status.state == "halted")
        for _ in range(3):
            before = came()
            await eventually(lambda before=before: came() > before + 20)
            found = await reconcile(store.inventory)
            assert told(found) == {("on_hand", sku, 3)}
            assert "since event" in found.drift[0].detail


async def test_holds_that_redis_tells_otherwise(store: Store) -> None:
    holds = [await store.engine.reserve([(f"S-{n}", 2)], customer_id="ann", ttl_ms=600_000 + n) for n in range(1, 6)]
    await store.flushed()
    assert (await reconcile(store.inventory, "levels")).drift == ()
    lost, moved, other_lines, ended, whole = holds
    store.client.zrem(KEYS.deadlines, f"{lost.id} S-1=2")
    store.client.zadd(KEYS.deadlines, {f"{moved.id} S-2=2": moved.deadline_ms + 5})
    store.client.zrem(KEYS.deadlines, f"{other_lines.id} S-3=2")
    store.client.zadd(KEYS.deadlines, {f"{other_lines.id} S-3=4": other_lines.deadline_ms})
    store.client.zadd(KEYS.deadlines, {f"{'0' * 24}018d00000000 S-1=3": 4_000_000_000_000})
    store.rows("UPDATE stock_reservations SET status = 'CANCELLED' WHERE id = %s", ended.id)
    found = await reconcile(store.inventory, "levels")
    assert {(one.counter, one.sku, one.expected, one.actual, one.reservation_id) for one in found.drift} == {
        ("hold", "S-1", 2, 0, lost.id),
        ("deadline", "", moved.deadline_ms, moved.deadline_ms + 5, moved.id),
        ("hold", "S-3", 2, 4, other_lines.id),
        ("hold", "S-1", 0, 3, f"{'0' * 24}018d00000000"),
        ("hold", "S-4", 0, 2, ended.id),
        ("reserved", "S-4", 0, 2, ""),
        ("ledger_reserved", "S-4", 0, 2, ""),
    }
    assert whole.id not in {one.reservation_id for one in found.drift}


async def test_counters_and_levels_that_somebody_wrote_to(store: Store) -> None:
    await store.flushed()
    store.client.hdel(KEYS.stock, "S-1")
    store.client.hset(KEYS.stock, "S-2", "12 a 0 0 1")
    store.client.hset(KEYS.stock, "GHOST", "5 0 0 0 1")
    store.drift("S-3", reserved=200_000)
    store.rows("UPDATE inventory_levels SET on_hand = on_hand + 1 WHERE sku = 'S-4'")
    store.rows("UPDATE inventory_levels SET reserved = reserved + 1 WHERE sku = 'S-5'")
    found = await reconcile(store.inventory, "levels")
    assert {(one.counter, one.sku, one.actual - one.expected) for one in found.drift} == {
        ("counter", "S-1", -100_000),
        ("counter", "S-2", -100_000),
        ("counter", "GHOST", 5),
        ("reserved", "S-3", 100_000),
        ("reserved", "S-3", 200_000),
        ("on_hand", "S-4", -1),
        ("ledger_balance", "S-4", 1),
        ("ledger_reserved", "S-5", 1),
    }


async def test_a_deep_run_walks_every_row_and_record(store: Store) -> None:
    hold = await store.engine.reserve([("S-1", 2)], customer_id="ann", ttl_ms=600_000)
    await store.engine.confirm((await store.engine.reserve([("S-2", 1)], customer_id="bob")).id, order_id="o-1")
    await store.flushed()
    assert (await reconcile(store.inventory, "deep")).drift == ()
    store.rows("ALTER TABLE inventory_transactions DISABLE TRIGGER USER")
    store.rows(
        "UPDATE inventory_transactions SET previous_stock = 7, new_stock = 6"
        " WHERE sku = 'S-2' AND transaction_type = 'OUT'"
    )
    store.rows("DELETE FROM inventory_transactions WHERE sku = 'S-3'")
    store.client.delete(KEYS.record(hold.id[:24]))
    other = await store.engine.reserve([("S-4", 1)], customer_id="ann", ttl_ms=600_000)
    store.client.zremrangebyscore(KEYS.deadlines, other.deadline_ms, other.deadline_ms)
    second: Any = store.client.xrange(KEYS.journal, count=2)
    store.client.xdel(KEYS.journal, second[1][0])
    await store.flushed()
    found = await reconcile(store.inventory, "deep")
    by_counter = {drift.counter: drift for drift in found.drift}
    assert set(by_counter) == {"ledger_balance", "ledger_sum", "ledger_chain", "hold", "journal"}
    assert by_counter["ledger_chain"].sku == "S-2"
    assert by_counter["ledger_sum"].sku == "S-3"
    assert by_counter["hold"].reservation_id == other.id
    store.client.zadd(KEYS.deadlines, {f"{other.id} S-4=1": other.deadline_ms})


async def test_no_verdict_when_the_journal_has_lost_what_comes_next(store: Store) -> None:
    await store.flushed()
    store.stop_flusher()
    await store.engine.reserve([("S-1", 2)], customer_id="ann")
    store.client.xtrim(KEYS.journal, maxlen=0, approximate=False)
    with pytest.raises(ReconciliationUnknown, match="nowhere in the journal"):
        await reconcile(store.inventory)


async def test_a_run_begins_anew_when_the_flusher_trims_under_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot is taken, then the flusher goes on and trims behind itself: what the snapshot needs is gone."""
    await store.flushed()
    real, loads = reconciliation.position, []

    async def snapshot_then_trim(*arguments: Any) -> Any:
        position = await real(*arguments)
        loads.append(position)
        if len(loads) == 1:
            hold = await store.engine.reserve([("S-1", 1)], customer_id="ann")
            await store.engine.release(hold.id)
            await store.flushed()
            store.client.xtrim(KEYS.journal, maxlen=0, approximate=False)
        return position

    monkeypatch.setattr(reconciliation, "position", snapshot_then_trim)
    assert (await reconcile(store.inventory)).drift == ()
    assert len(loads) == 2


async def test_no_verdict_over_another_epoch_or_a_redis_that_forgot(store: Store) -> None:
    await store.flushed()
    store.stop_flusher()
    store.client.hset(KEYS.meta, "epoch", 2)
    with pytest.raises(ReconciliationUnknown, match="epoch 2"):
        await reconcile(store.inventory)
    store.client.hset(KEYS.meta, mapping={"epoch": 1, "seq": 3})
    with pytest.raises(ReconciliationUnknown, match="behind the ledger"):
        await reconcile(store.inventory)


async def test_no_verdict_in_time_is_no_verdict(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(StoreReader, "counters", never)
    with pytest.raises(ReconciliationUnknown, match=r"within 0\.2 s"):
        await reconcile(store.inventory, timeout_s=0.2)


async def test_the_scheduled_run_tells_and_leaves_its_outcome(store: Store) -> None:
    await store.flushed()
    assert (await reconcile_and_tell(store.inventory)).startswith(f"ok: {len(SKUS)} SKUs")
    store.drift(SKUS[7], on_hand=2)
    with pytest.raises(DriftFound, match=r"1 differences .* first on_hand of S 7: expected 100000, is 100002"):
        await reconcile_and_tell(store.inventory)
    latest = await reconciliation.latest(store.inventory.database, 0)
    assert latest is not None
    assert (latest.found, latest.checked_skus) == (1, len(SKUS))
