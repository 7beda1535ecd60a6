"""Drift put right under load: on record, nothing else moved, the flusher goes on, and every invariant holds again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import OutcomeUnknown
from inventory.reconciliation.reconcile import reconcile
from inventory.reconciliation.repair import Repaired, RepairPlan, plan_repair, repair
from persistence.queries import drift_repairs
from tests.inventory.reconciliation.conftest import KEYS, SKUS, Store
from tests.waiting import eventually

WHY: dict[str, Any] = {"reason": "a script wrote to Redis", "actor": "key_admin"}


async def in_order(store: Store) -> None:
    """The flusher has caught up, and a deep look finds nothing."""
    await store.flushed()
    # It says so a moment after the commit that ended its halt.
    await eventually(lambda: store.flusher.status.state == "running")
    found = await reconcile(store.inventory, "deep")
    assert found.drift == ()
    assert store.rows("SELECT count(*) FROM level_corrections WHERE applied_seq IS NULL AND void IS NULL") == [(0,)]
    assert store.rows("SELECT count(*) FROM journal_quarantine") == [(0,)]


def on_record(store: Store, sku: str) -> list[tuple[int, str, str, str]]:
    return store.rows(
        "SELECT quantity, transaction_type, reason, created_by FROM inventory_transactions"
        " WHERE sku = %s AND reference_type = 'Reconciliation' ORDER BY id",
        sku,
    )


ADJUSTED = ("ADJUSTMENT", WHY["reason"], WHY["actor"])


async def test_drift_is_repaired_while_its_skus_sell(store: Store) -> None:
    held = await store.engine.reserve([(SKUS[4], 2)], customer_id="ann", ttl_ms=600_000)
    async with store.traffic() as came:
        await eventually(lambda: came() > 100)
        store.drift(SKUS[1], on_hand=1)
        store.drift(SKUS[2], on_hand=-2)
        store.drift(SKUS[3], reserved=1)
        store.drift(SKUS[4], on_hand=5, reserved=-1)
        done = await repair(store.inventory, **WHY)
        assert {(one.what, one.outcome) for one in done} == {(sku, "repaired") for sku in SKUS[1:5]}
        before = came()
        await eventually(lambda: came() > before + 200)
        # `reserved` of a level that has not moved since is written anew with the SKU's next event.
        found = await reconcile(store.inventory)
        assert {drift.counter for drift in found.drift} <= {"ledger_reserved"}
    await store.engine.release(held.id)
    await in_order(store)
    assert on_record(store, SKUS[1]) == [(1, *ADJUSTED), (-1, *ADJUSTED)]
    assert on_record(store, SKUS[2]) == [(-2, *ADJUSTED), (2, *ADJUSTED)]
    assert on_record(store, SKUS[3]) == [(0, *ADJUSTED)]
    assert on_record(store, SKUS[4]) == [(5, *ADJUSTED), (-5, *ADJUSTED)]


async def test_a_store_that_is_rebuilt_in_between_is_not_repaired_of_what_it_had(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.flushed()
    store.drift(SKUS[1], on_hand=7)
    real = drift_repairs.begin

    async def begin(*arguments: Any) -> None:
        await real(*arguments)
        # The same moment's rebuild, as far as the engine meets it: the drift is gone, and another epoch has begun.
        store.drift(SKUS[1], on_hand=-7)
        store.client.hset(KEYS.meta, mapping={"epoch": 2, "seq": 0})
        store.engine.admission.admit(2, store.engine.admission.run_id)

    monkeypatch.setattr(drift_repairs, "begin", begin)

    (done,) = await repair(store.inventory, **WHY)

    assert (done.what, done.outcome) == (SKUS[1], "refused: stock_moved")
    assert store.counters(SKUS[1]) == (100_000, 0)
    assert store.rows("SELECT void FROM level_corrections") == [("stock_moved",)]


async def test_a_sku_that_never_moved_is_repaired(store: Store) -> None:
    await store.flushed()
    store.drift(SKUS[1], on_hand=7)
    (done,) = await repair(store.inventory, **WHY)
    assert done.what == SKUS[1]
    assert store.counters(SKUS[1]) == (100_000, 0)
    await in_order(store)
    assert on_record(store, SKUS[1]) == [(7, *ADJUSTED), (-7, *ADJUSTED)]
    assert store.rows("SELECT line, seq FROM inventory_transactions WHERE sku = %s ORDER BY id", SKUS[1])[1:] == [
        (-1, done.seq),
        (0, done.seq),
    ]


async def test_a_halted_flusher_goes_on_after_the_repair(store: Store) -> None:
    sku = SKUS[5]
    async with store.traffic((sku,)) as came:
        await eventually(lambda: came() > 20)
        store.drift(sku, on_hand=3)
        await eventually(lambda: store.flusher.status.state == "halted")
        before = came()
        await eventually(lambda: came() > before + 20)
        await repair(store.inventory, **WHY)
        await eventually(lambda: store.flusher.status.state == "running", what="the flusher to go on")
    await in_order(store)
    assert on_record(store, sku) == [(3, *ADJUSTED), (-3, *ADJUSTED)]


async def test_several_drifts_of_one_sku_are_taken_over_step_by_step(store: Store) -> None:
    sku = SKUS[6]
    async with store.traffic((sku,)) as came:
        for step in (2, -5, 1):
            before = came()
            await eventually(lambda before=before: came() > before + 20)
            store.drift(sku, on_hand=step)
        before = came()
        await eventually(lambda before=before: came() > before + 20)
        store.drift(sku, on_hand=4)
        await repair(store.inventory, **WHY)
    await in_order(store)
    assert sorted(on_record(store, sku)[:-1]) == sorted((step, *ADJUSTED) for step in (2, -5, 1, 4))
    assert on_record(store, sku)[-1] == (-2, *ADJUSTED)


async def test_a_drift_that_somebody_took_back_by_hand_still_halts_and_is_repaired(store: Store) -> None:
    sku = SKUS[7]
    await store.flushed()
    store.drift(sku, on_hand=4)
    await store.engine.release((await store.engine.reserve([(sku, 1)], customer_id="ann")).id)
    store.drift(sku, on_hand=-4)
    await store.engine.reserve([(sku, 1)], customer_id="ann", ttl_ms=600_000)
    await eventually(lambda: store.flusher.status.state == "halted")
    (drift,) = (await reconcile(store.inventory)).drift
    assert (drift.counter, drift.sku, drift.actual) == ("journal", sku, 4)
    await repair(store.inventory, **WHY)
    await in_order(store)
    assert on_record(store, sku) == [(4, *ADJUSTED), (-4, *ADJUSTED), (0, *ADJUSTED)]


async def test_the_flusher_takes_over_nothing_else(store: Store) -> None:
    """An authorised break lets exactly that one pass: another SKU, another difference, or a second time halts."""
    store.drift(SKUS[1], on_hand=3)
    await repair(store.inventory, **WHY)
    await in_order(store)
    store.drift(SKUS[1], on_hand=3)
    await store.engine.reserve([(SKUS[1], 1)], customer_id="ann")
    await eventually(lambda: store.flusher.status.state == "halted")
    assert "continuity" in store.flusher.status.reason
    await repair(store.inventory, **WHY)
    await in_order(store)


async def test_a_lost_deadline_comes_back_and_ends_its_hold(store: Store) -> None:
    hold = await store.engine.reserve([("S-4", 2), ("S-1", 1)], customer_id="ann", ttl_ms=600_000)
    sold = await store.engine.reserve([("S-4", 2)], customer_id="ann", ttl_ms=500_000)
    await store.flushed()
    lost: Any = store.client.zrange(KEYS.deadlines, 0, -1, withscores=True)
    store.client.delete(KEYS.deadlines)
    plan = await plan_repair(store.inventory, await reconcile(store.inventory))
    assert {one.reservation_id for one in plan.deadlines} == {hold.id, sold.id}
    await store.engine.confirm(sold.id, order_id="o-1")
    assert await repair(store.inventory, agreed=plan, **WHY) == (Repaired(hold.id, "repaired"),)
    assert store.client.zrange(KEYS.deadlines, 0, -1, withscores=True) == lost[1:]
    await in_order(store)


async def test_a_hold_that_ends_in_that_moment_gets_no_deadline(store: Store) -> None:
    hold = await store.engine.reserve([("S-4", 2)], customer_id="ann", ttl_ms=600_000)
    store.client.delete(KEYS.deadlines)
    await store.engine.release(hold.id)
    reader = store.engine.store_reader()
    assert not await reader.restore_deadline(hold.id, "S-4=2", hold.deadline_ms)
    assert not store.client.exists(KEYS.deadlines)


async def test_where_the_ledger_contradicts_itself_a_person_decides(store: Store) -> None:
    await store.flushed()
    store.rows("ALTER TABLE inventory_transactions DISABLE TRIGGER USER")
    store.rows("UPDATE inventory_levels SET on_hand = on_hand + 1 WHERE sku = 'S-3'")
    store.rows("DELETE FROM inventory_transactions WHERE sku = 'S-4'")
    for sku in ("S-3", "S-4", "S-5"):
        store.drift(sku, on_hand=3)
    plan = await plan_repair(store.inventory, await reconcile(store.inventory))
    assert [one.sku for one in plan.counters] == ["S-5"]
    assert {(one.drift.sku, one.why) for one in plan.left if one.drift.counter == "on_hand"} == {
        (sku, "the ledger contradicts itself about this SKU") for sku in ("S-3", "S-4")
    }
    await repair(store.inventory, **WHY)
    assert [store.counters(sku) for sku in ("S-3", "S-4", "S-5")] == [(100_003, 0), (100_003, 0), (100_000, 0)]


async def test_an_event_in_quarantine_may_explain_it(store: Store) -> None:
    await store.flushed()
    store.rows(
        "INSERT INTO journal_quarantine (partition, epoch, seq, stream_id, applied, raw, error)"
        " SELECT 0, 1, max(seq) + 1, '1-1', 'nothing', '', 'poison' FROM inventory_levels"
    )
    store.drift("S-4", on_hand=3)
    plan = await plan_repair(store.inventory, await reconcile(store.inventory))
    assert plan.empty
    assert "quarantine" in plan.left[0].why


async def test_stock_that_is_promised_twice_is_no_drift_and_left_to_a_person(store: Store) -> None:
    """Counter and holds agree, but somebody took the stock away under them, in ledger and Redis alike."""
    await store.engine.reserve([("S-4", 100_000)], customer_id="ann", ttl_ms=600_000)
    await store.flushed()
    store.drift("S-4", on_hand=-3)
    store.rows("UPDATE inventory_levels SET on_hand = on_hand - 3 WHERE sku = 'S-4'")
    found = await reconcile(store.inventory)
    plan = await plan_repair(store.inventory, found)
    assert plan.empty
    assert {(left.drift.counter, left.drift.detail) for left in plan.left} >= {
        ("reserved", "more is reserved than there is")
    }


async def test_only_what_was_agreed_to_is_repaired(store: Store) -> None:
    await store.flushed()
    store.drift("S-4", on_hand=3)
    agreed = await plan_repair(store.inventory, await reconcile(store.inventory))
    store.drift("S-5", on_hand=1)
    assert [one.what for one in await repair(store.inventory, agreed=agreed, **WHY)] == ["S-4"]
    store.drift("S-5", on_hand=-1)
    assert await repair(store.inventory, agreed=RepairPlan(), **WHY) == ()
    await in_order(store)


async def test_what_the_state_machine_refuses_is_void(store: Store) -> None:
    """More is reserved than the repaired counter would have: taking it back would promise what is not there."""
    await store.engine.reserve([("S-4", 100_000)], customer_id="ann", ttl_ms=600_000)
    store.drift("S-4", on_hand=3)
    too_many = await store.engine.reserve([("S-4", 2)], customer_id="ann", ttl_ms=600_000)
    await eventually(lambda: store.flusher.status.state == "halted")
    (done,) = await repair(store.inventory, **WHY)
    assert done.outcome == "refused: inconsistent"
    assert store.counters("S-4") == (100_003, 100_002)
    assert store.rows("SELECT applied_seq, void FROM level_corrections") == [(None, "inconsistent")]
    assert [(one.counter, one.sku) for one in (await reconcile(store.inventory)).drift] == [("on_hand", "S-4")]
    assert store.flusher.status.state == "halted"
    await store.engine.release(too_many.id)
    await repair(store.inventory, **WHY)
    await in_order(store)
    assert on_record(store, "S-4") == [(3, *ADJUSTED), (-3, *ADJUSTED)]


async def test_a_break_is_not_taken_over_before_its_repair_is_done(store: Store) -> None:
    sku = SKUS[8]
    await store.flushed()
    store.drift(sku, on_hand=3)
    line = drift_repairs.CorrectionLine(sku, 3, 0)
    begun = drift_repairs.DriftRepair("a" * 24, 1, ((sku, -3, 0),), WHY["reason"], WHY["actor"])
    await drift_repairs.begin(store.inventory.database, 0, begun, [line])
    await store.engine.reserve([(sku, 1)], customer_id="ann", ttl_ms=600_000)
    await eventually(lambda: store.flusher.status.state == "halted")
    await eventually(lambda: store.rows("SELECT count(*) FROM flusher_status WHERE state = 'halted'") == [(1,)])
    assert on_record(store, sku) == []
    await repair(store.inventory, **WHY)
    await in_order(store)


@pytest.mark.parametrize(("arrived", "age_s"), [(True, 0), (True, 7200), (False, 7200)])
async def test_a_repair_that_was_cut_off_is_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch, arrived: bool, age_s: int
) -> None:
    """Killed between putting it on record and hearing that it was done."""
    await store.flushed()
    store.drift("S-4", on_hand=3)
    real: Callable[..., Any] = store.engine.execute

    async def lost(command: Any) -> Any:
        if arrived:
            await real(command)
        raise OutcomeUnknown("cut")

    with monkeypatch.context() as patched:
        patched.setattr(store.engine, "execute", lost)
        with pytest.raises(OutcomeUnknown):
            await repair(store.inventory, **WHY)
    store.rows("UPDATE drift_repairs SET created_at = created_at - make_interval(secs => %s)", age_s)
    if age_s:
        (drift,) = (await reconcile(store.inventory)).drift
        assert (drift.counter, drift.sku, drift.actual) == ("repair", "S-4", 3)
    done = await repair(store.inventory, **WHY)
    assert done[-1].outcome == "repaired"
    assert store.counters("S-4") == (100_000, 0)
    await in_order(store)
    assert on_record(store, "S-4") == [(3, *ADJUSTED), (-3, *ADJUSTED)]


async def test_two_repairs_at_once_take_a_drift_back_once(store: Store) -> None:
    async with store.traffic() as came:
        await eventually(lambda: came() > 50)
        store.drift("S-4", on_hand=3)
        outcomes = await asyncio.gather(*[repair(store.inventory, **WHY) for _ in range(3)])
    assert sorted(len(done) for done in outcomes) == [0, 0, 1]
    await in_order(store)
    assert await drift_repairs.unfinished(store.inventory.database, 0, 1) == []
