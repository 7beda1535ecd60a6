"""Many people at the same approval, and at the same stock: one outcome, applied once, nothing negative."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from msgspec import structs

from engine.errors import Rejected
from inventory import approvals
from inventory.approvals import Decision
from inventory.refusals import ApprovalDecided, InsufficientStock
from persistence.queries.approvals import Approval
from tests.inventory.stock.conftest import CLERK, LIMIT, Desk
from tests.waiting import eventually


@pytest.fixture
def choose() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


async def decide(desk: Desk, approval_id: str, verb: str, by: str) -> Decision | None:
    try:
        if verb == "approve":
            return await approvals.approve(desk.inventory, approval_id, by)
        return await approvals.reject(desk.inventory, approval_id, by)
    except ApprovalDecided:
        return None


async def test_32_approvers_move_the_stock_once(desk: Desk) -> None:
    sku = await desk.sku(50)
    approval_id = await desk.asked("damage", sku, 11)
    answers = await asyncio.gather(*(decide(desk, approval_id, "approve", f"m{number % 16}") for number in range(32)))
    winners = {one.approval.decided_by for one in answers if one is not None}
    assert len(winners) == 1
    # Each manager asked twice; both requests of the one who was first get the same answer.
    good = [one for one in answers if one is not None]
    assert len(good) == 2
    assert good[0] == good[1]
    assert await desk.level(sku) == (39, 0)


async def test_approvers_against_rejecters(desk: Desk, choose: random.Random) -> None:
    for _ in range(6):
        sku = await desk.sku(50)
        approval_id = await desk.asked("receive", sku, 11)
        verbs = ["approve"] * 6 + ["reject"] * 6
        choose.shuffle(verbs)
        answers = await asyncio.gather(
            *(decide(desk, approval_id, verb, f"m{number}") for number, verb in enumerate(verbs))
        )
        (done,) = [one.approval for one in answers if one is not None]
        assert await desk.level(sku) == (61 if done.status == "APPROVED" else 50, 0)


class SlowEngine:
    """The engine behind a door: adjustments wait until it opens."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.waiting, self.door = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def execute(self, command: Any) -> Any:
        self.waiting.set()
        await self.door.wait()
        return await self._engine.execute(command)


async def test_a_rejecter_waits_for_an_approval_that_is_under_way(desk: Desk) -> None:
    """It looks impossible for a moment, and is possible when the engine comes to it: nobody may decide in between."""
    sku = await desk.sku(50)
    approval_id = await desk.asked("remove", sku, 45)
    slow = SlowEngine(desk.engine)
    inventory = structs.replace(desk.inventory, engine=slow)  # type: ignore[arg-type]
    approving = asyncio.ensure_future(approvals.approve(inventory, approval_id, "m1"))
    await slow.waiting.wait()
    held = await desk.hold(sku, 20)
    rejecting = asyncio.ensure_future(decide(desk, approval_id, "reject", "m2"))

    def waits_or_done() -> bool:
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
        waiting += " (SELECT oid FROM pg_database WHERE datname = current_database())"
        return rejecting.done() or bool(desk.rows(waiting))

    await eventually(waits_or_done)
    await desk.engine.release(held)
    slow.door.set()
    done = await approving
    assert (done.approval.status, await rejecting) == ("APPROVED", None)
    assert await desk.level(sku) == (5, 0)


async def test_decisions_against_expiry(desk: Desk, choose: random.Random) -> None:
    for _ in range(6):
        sku = await desk.sku(50)
        approval_id = await desk.asked("receive", sku, 11)
        desk.rows("UPDATE approvals SET expires_at = now() + interval '4 ms' WHERE id = %s", approval_id)
        work = [decide(desk, approval_id, "approve", f"m{number}") for number in range(4)]
        work += [approvals.expire_stale(desk.inventory) for _ in range(4)]  # type: ignore[misc]
        choose.shuffle(work)
        await asyncio.gather(*work)
        status = (await desk.state(approval_id)).status
        assert status in {"APPROVED", "EXPIRED"}
        assert await desk.level(sku) == (61 if status == "APPROVED" else 50, 0)


async def test_a_busy_day(desk: Desk, choose: random.Random) -> None:
    """Clerks, managers and shoppers at three SKUs: the stock is exactly what was answered to have happened."""
    skus = [await desk.sku(60) for _ in range(3)]
    expected = dict.fromkeys(skus, 60)
    asked: list[tuple[str, str, int]] = []

    async def clerk(number: int) -> None:
        for turn in range(6):
            sku, kind = choose.choice(skus), choose.choice(["receive", "remove", "damage"])
            units = choose.choice([2, LIMIT, LIMIT + 5, 40])
            sign = 1 if kind == "receive" else -1
            with contextlib.suppress(InsufficientStock):
                made = await desk.change(kind, sku, units, actor=f"clerk{number}", idempotency_key=f"{number}-{turn}")
                if isinstance(made, Approval):
                    asked.append((made.id, sku, sign * units))
                else:
                    expected[sku] += sign * units

    async def shopper() -> None:
        for _ in range(8):
            with contextlib.suppress(Rejected):
                sku = choose.choice(skus)
                held = await desk.engine.reserve([(sku, 7)], customer_id="cleo")
                if choose.random() < 0.5:
                    await desk.engine.confirm(held.id, order_id="o")
                    expected[sku] -= 7
                else:
                    await desk.engine.release(held.id)

    decided: set[str] = set()

    async def manager(number: int) -> None:
        for _ in range(12):
            await asyncio.sleep(0)
            for approval_id, sku, change in choose.sample(asked, min(3, len(asked))):
                verb = choose.choice(["approve", "approve", "reject"])
                with contextlib.suppress(InsufficientStock):
                    done = await decide(desk, approval_id, verb, f"m{number}")
                    if done is not None and approval_id not in decided:
                        decided.add(approval_id)
                        expected[sku] += change if done.approval.status == "APPROVED" else 0

    clerks, shoppers = [clerk(number) for number in range(8)], [shopper() for _ in range(8)]
    await asyncio.gather(*clerks, *shoppers, *(manager(number) for number in range(8)))
    await asyncio.gather(*(manager(number) for number in range(2)))
    assert decided
    for sku in skus:
        assert await desk.level(sku) == (expected[sku], 0)
    await desk.check_books()
    applied = desk.rows("SELECT applied_seq FROM approvals WHERE status = 'APPROVED'")
    assert len(applied) == len(set(applied))
    assert desk.rows("SELECT count(*) FROM approvals WHERE requested_by = %s", CLERK) == [(0,)]
