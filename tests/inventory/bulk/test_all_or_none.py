"""An import of several chunks: applied whole or not at all, wherever it is broken off, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.errors import OutcomeUnknown, Rejected
from inventory.bulk import imports, steps
from inventory.bulk.chunks import Refused
from inventory.refusals import InsufficientStock, StockMoved
from tests.inventory.bulk.conftest import Warehouse

BEFORE = [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
WANTED = [0, 20, 1, 20, 2, 20, 3, 20, 4, 20, 10]


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it."""


def killed_at(monkeypatch: pytest.MonkeyPatch, warehouse: Warehouse, call: int, *, after: bool) -> None:
    """The process ends at the `call`-th command to the engine, before or after it was carried out."""
    execute = warehouse.inventory.engine.execute
    calls = 0

    async def mortal(command: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Killed
        result = await execute(command)
        if calls == call:
            raise Killed
        return result

    monkeypatch.setattr(warehouse.inventory.engine, "execute", mortal)


async def test_several_chunks_are_applied_and_reverted(warehouse: Warehouse) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    assert (imported.rows, imported.changed) == (11, 10)
    assert (await warehouse.apply(imported)).status == "APPLIED"
    assert await warehouse.levels() == WANTED
    # What takes stock comes first: only that can be refused.
    assert [quantity < 0 for _, quantity in warehouse.made(imported)] == [True] * 5 + [False] * 5
    assert (await warehouse.revert(imported)).status == "REVERTED"
    assert await warehouse.levels() == BEFORE
    assert len(warehouse.made(imported)) == 20
    await warehouse.assert_ledger_is_true()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
async def test_killed_while_applying(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, call: int, after: bool
) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    with monkeypatch.context() as patched:
        killed_at(patched, warehouse, call, after=after)
        with pytest.raises(Killed):
            await warehouse.apply(imported)
    assert await warehouse.status(imported) == "APPLYING"
    assert await imports.resume(warehouse.inventory) == 0, "somebody may still be at it"
    warehouse.forget_idle()
    assert await imports.resume(warehouse.inventory) == 1
    assert await warehouse.status(imported) == "APPLIED"
    assert await warehouse.levels() == WANTED
    assert len(warehouse.made(imported)) == 10
    await warehouse.assert_ledger_is_true()


@pytest.mark.parametrize("call", [1, 3])
async def test_killed_and_all_that_redis_remembers_of_it_is_gone(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, redis_client: Any, call: int
) -> None:
    """A day later no record says that a chunk was done: the ledger still does."""
    await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    with monkeypatch.context() as patched:
        killed_at(patched, warehouse, call, after=True)
        with pytest.raises(Killed):
            await warehouse.apply(imported)
    for key in redis_client.scan_iter("*r:*"):
        redis_client.delete(key)
    warehouse.forget_idle()
    await imports.resume(warehouse.inventory)
    assert await warehouse.levels() == WANTED
    assert len(warehouse.made(imported)) == 10


@pytest.mark.parametrize("call", [1, 2, 3, 4])
async def test_killed_while_reverting(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.apply(await warehouse.counted(*WANTED))
    with monkeypatch.context() as patched:
        killed_at(patched, warehouse, call, after=True)
        with pytest.raises(Killed):
            await warehouse.revert(imported)
    warehouse.forget_idle()
    await imports.resume(warehouse.inventory)
    assert await warehouse.status(imported) == "REVERTED"
    assert await warehouse.levels() == BEFORE
    assert len(warehouse.made(imported)) == 20
    await warehouse.assert_ledger_is_true()


async def refused_in_the_second_chunk(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds S06 once the first chunk is through: the second one, which takes it, is refused."""
    execute = warehouse.inventory.engine.execute
    held = False

    async def racing(command: Any) -> Any:
        nonlocal held
        result = await execute(command)
        if not held:
            held = True
            await warehouse.hold("S06", 8)
        return result

    monkeypatch.setattr(warehouse.inventory.engine, "execute", racing)


async def test_refused_in_the_middle_is_undone(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    with monkeypatch.context() as patched:
        await refused_in_the_second_chunk(warehouse, patched)
        with pytest.raises(InsufficientStock) as refused:
            await warehouse.apply(imported)
    assert [(short.sku, short.requested, short.available) for short in refused.value.shortages] == [("S06", 7, 2)]
    assert await warehouse.status(imported) == "FAILED"
    assert await warehouse.levels() == BEFORE
    assert warehouse.made(imported) == [("S00", -10), ("S02", -9), ("S04", -8), ("S00", 10), ("S02", 9), ("S04", 8)]
    with pytest.raises(InsufficientStock):
        await warehouse.apply(imported)
    await warehouse.assert_ledger_is_true()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_while_undoing(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    with monkeypatch.context() as patched:
        await refused_in_the_second_chunk(warehouse, patched)
        # The first chunk, the customer's hold, the refusal; then the first chunk undone.
        killed_at(patched, warehouse, 4, after=after)
        with pytest.raises(Killed):
            await warehouse.apply(imported)
    assert await warehouse.status(imported) == "UNDOING"
    warehouse.forget_idle()
    await imports.resume(warehouse.inventory)
    assert await warehouse.status(imported) == "FAILED"
    assert await warehouse.levels() == BEFORE
    await warehouse.assert_ledger_is_true()


async def test_a_revert_refused_in_the_middle_restores(warehouse: Warehouse) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.apply(await warehouse.counted(*WANTED))
    hold = await warehouse.hold("S07", 15)
    with pytest.raises(InsufficientStock):
        await warehouse.revert(imported)
    assert await warehouse.status(imported) == "APPLIED"
    assert await warehouse.levels() == WANTED
    await warehouse.inventory.engine.release(hold)
    assert (await warehouse.revert(imported)).status == "REVERTED"
    assert await warehouse.levels() == BEFORE
    await warehouse.assert_ledger_is_true()


async def test_stock_that_moved_is_seen_before_anything_is_changed(warehouse: Warehouse) -> None:
    skus = await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    sold = await warehouse.hold(skus[10], 1)
    await warehouse.inventory.engine.confirm(sold)
    with pytest.raises(StockMoved) as refused:
        await warehouse.apply(imported)
    assert [(row.row, row.sku, row.expected, row.on_hand) for row in refused.value.rows] == [(12, "S10", 10, 9)]
    assert warehouse.made(imported) == []
    assert (await warehouse.apply(imported, force=True)).status == "APPLIED"
    assert await warehouse.levels() == WANTED
    assert (await warehouse.revert(imported)).status == "REVERTED"
    assert await warehouse.levels() == [*BEFORE[:10], 9]


async def test_moved_between_the_look_and_the_change(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """One chunk is one instant: the script itself finds out."""
    await warehouse.stock(10, 10)
    imported = await warehouse.counted(5, 15)
    looked_at = steps._looked_at

    async def slow_look(*arguments: Any) -> Any:
        found = await looked_at(*arguments)
        await warehouse.inventory.engine.confirm(await warehouse.hold("S01", 1))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(steps, "_looked_at", slow_look)
        with pytest.raises(StockMoved) as refused:
            await warehouse.apply(imported)
    assert [(row.sku, row.expected, row.on_hand) for row in refused.value.rows] == [("S01", 10, 9)]
    assert (await warehouse.status(imported), await warehouse.levels()) == ("PREVIEW", [10, 9])


async def test_an_unknown_outcome_is_carried_on(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    execute = warehouse.inventory.engine.execute
    lost = 0

    async def loses_replies(command: Any) -> Any:
        nonlocal lost
        result = await execute(command)
        lost += 1
        if lost in {2, 3}:
            raise OutcomeUnknown("the reply was lost")
        return result

    with monkeypatch.context() as patched:
        patched.setattr(warehouse.inventory.engine, "execute", loses_replies)
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await steps.work_on(warehouse.inventory, imported.id) if lost else await warehouse.apply(imported)
        assert await steps.work_on(warehouse.inventory, imported.id)
    assert (await warehouse.status(imported), await warehouse.levels()) == ("APPLIED", WANTED)
    assert len(warehouse.made(imported)) == 10


async def test_asking_again_goes_on_with_it(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    for step in (warehouse.apply, warehouse.revert):
        with monkeypatch.context() as patched:
            killed_at(patched, warehouse, 2, after=True)
            with pytest.raises(Killed):
                await step(imported)
        assert (await step(imported)).status in {"APPLIED", "REVERTED"}
    assert await warehouse.levels() == BEFORE
    assert len(warehouse.made(imported)) == 20


async def test_it_is_announced_once(warehouse: Warehouse) -> None:
    await warehouse.stock(1, 2)
    imported = await warehouse.counted(5, 6)
    await warehouse.apply(imported)
    await warehouse.apply(imported)
    ((event_type, data),) = warehouse.sql("SELECT event_type, data FROM announcements")
    assert event_type == "import.applied"
    told = data if isinstance(data, dict) else json.loads(data)
    assert (told["id"], told["transactions"], told["applied_by"]) == (imported.id, 2, "ann")


async def test_previews_are_let_go_when_their_time_is_over(warehouse: Warehouse) -> None:
    await warehouse.stock(1, 2)
    old, applied, young = [await warehouse.counted(5, 6) for _ in range(3)]
    await warehouse.apply(applied)
    warehouse.sql("UPDATE imports SET expires_at = now() WHERE id = ANY(%s)", [old.id, applied.id])
    assert await imports.expire_previews(warehouse.inventory) == 1
    assert await imports.expire_previews(warehouse.inventory) == 0
    assert [await warehouse.status(one) for one in (old, applied, young)] == ["EXPIRED", "APPLIED", "PREVIEW"]
    assert await imports.forget_old(warehouse.inventory) == 0
    warehouse.sql("UPDATE imports SET updated_at = now() - interval '10 years' WHERE id = ANY(%s)", [old.id])
    assert await imports.forget_old(warehouse.inventory) == 1
    kept = dict(warehouse.sql("SELECT import_id, count(*) FROM import_rows GROUP BY import_id"))
    assert kept == {applied.id: 2, young.id: 2}


async def test_several_workers_at_once_do_it_once(warehouse: Warehouse) -> None:
    await warehouse.stock(*BEFORE)
    imported = await warehouse.counted(*WANTED)
    answers = await asyncio.gather(
        *(warehouse.apply(imported) for _ in range(4)),
        *(steps.work_on(warehouse.inventory, imported.id) for _ in range(4)),
    )
    assert {answer.status for answer in answers[:4]} == {"APPLIED"}
    assert len(warehouse.made(imported)) == 10


async def test_even_without_a_claim_nothing_is_done_twice(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim can be lost while its holder works on: then two are at it, and each flip is still one."""

    @asynccontextmanager
    async def believed(*_: Any) -> AsyncIterator[bool]:
        yield True

    monkeypatch.setattr(steps.imports, "claimed", believed)
    await warehouse.stock(*BEFORE)
    wanted = [8, 12] * 5 + [10]  # all of it could be done twice
    imported = await warehouse.counted(*wanted)
    execute, first = warehouse.inventory.engine.execute, asyncio.Event()

    async def late(command: Any) -> Any:
        """Each command is sent twice, by two who have both seen that it was not done yet."""
        if not first.is_set():
            first.set()
            await steps.work_on(warehouse.inventory, imported.id)
        return await execute(command)

    monkeypatch.setattr(warehouse.inventory.engine, "execute", late)
    assert (await warehouse.apply(imported)).status == "APPLIED"
    await warehouse.flushed()
    assert await warehouse.levels() == wanted
    assert len(warehouse.made(imported)) == 10


async def test_customers_race_an_import(warehouse: Warehouse) -> None:
    """Whatever is held and sold meanwhile: never oversold, and the import is applied whole or not at all."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    skus = await warehouse.stock(*BEFORE)
    engine = warehouse.inventory.engine

    statuses: set[str] = set()

    async def customer() -> list[tuple[str, int]]:
        bought = []
        for _ in range(30):
            sku, units = rng.choice(skus), rng.randint(1, 4)
            try:
                held = await engine.reserve([(sku, units)], customer_id="eve")
            except Rejected as refused:
                statuses.add(refused.result.status)
                continue
            if rng.random() < 0.5:
                await engine.confirm(held.id)
                bought.append((sku, units))
            else:
                await engine.release(held.id)
        return bought

    imported = await warehouse.counted(*WANTED)
    tries = asyncio.gather(warehouse.apply(imported, force=True), return_exceptions=True)
    bought = [one for some in await asyncio.gather(*(customer() for _ in range(4))) for one in some]
    (outcome,) = await tries
    assert statuses <= {"insufficient_stock"}
    status = await warehouse.status(imported)
    await warehouse.assert_ledger_is_true()
    sums: dict[str, int] = {}
    for sku, quantity in warehouse.made(imported):
        sums[sku] = sums.get(sku, 0) + quantity
    if isinstance(outcome, Refused | InsufficientStock):
        assert status in {"FAILED", "PREVIEW"}
        assert set(sums.values()) <= {0}
    else:
        assert not isinstance(outcome, BaseException), outcome
        assert status == "APPLIED"
    sold = {sku: sum(units for one, units in bought if one == sku) for sku in skus}
    assert await warehouse.levels() == [
        level - sold[sku] + sums.get(sku, 0) for sku, level in zip(skus, BEFORE, strict=True)
    ]
