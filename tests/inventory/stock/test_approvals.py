"""Approvals: what waits, who may decide, what is judged when, and how a request ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from inventory import approvals
from inventory.refusals import (
    ApprovalDecided,
    ApprovalExpired,
    InsufficientStock,
    InvalidRequest,
    KeyReused,
    SelfApproval,
    StockLimit,
    UnknownApproval,
    UnknownSku,
)
from inventory.stock_changes import StockChange, change_stock
from persistence.queries.approvals import Approval
from persistence.queries.approvals import page as page_of_approvals
from tests.inventory.stock.conftest import ANN, BEN, CLERK, LIMIT, Desk

THE_LIMIT: tuple[tuple[Any, int, bool, tuple[str, int]], ...] = (
    ("receive", LIMIT, False, ("IN", LIMIT)),
    ("receive", LIMIT + 1, True, ("IN", LIMIT + 1)),
    ("remove", LIMIT, False, ("ADJUSTMENT", -LIMIT)),
    ("remove", LIMIT + 1, True, ("ADJUSTMENT", -LIMIT - 1)),
    ("damage", LIMIT, False, ("DAMAGE", -LIMIT)),
    ("damage", LIMIT + 1, True, ("DAMAGE", -LIMIT - 1)),
    ("count", 50 + LIMIT, False, ("ADJUSTMENT", LIMIT)),
    ("count", 50 + LIMIT + 1, True, ("ADJUSTMENT", LIMIT + 1)),
    ("count", 50 - LIMIT, False, ("ADJUSTMENT", -LIMIT)),
    ("count", 50 - LIMIT - 1, True, ("ADJUSTMENT", -LIMIT - 1)),
    ("count", 0, True, ("ADJUSTMENT", -50)),
    ("return", LIMIT, False, ("RETURN", LIMIT)),
    ("return", LIMIT + 1, True, ("RETURN", LIMIT + 1)),
)


async def test_the_limit_to_the_unit(desk: Desk) -> None:
    for kind, units, waits, row in THE_LIMIT:
        sku = await desk.sku(50)
        made = await desk.change(kind, sku, units, reference="ref-1")
        assert isinstance(made, Approval) == waits, (kind, units)
        if isinstance(made, Approval):
            assert (made.status, made.kind, made.units, made.requested_by) == ("PENDING", kind, abs(row[1]), CLERK)
            assert made.difference == (row[1] if kind == "count" else None)
            assert await desk.level(sku) == (50, 0)
            made = (await approvals.approve(desk.inventory, made.id, ANN)).transactions
        (one,) = made
        assert (one.transaction_type, one.quantity, one.created_by, one.reason) == (*row, CLERK, "because")
        assert one.reference_id == "ref-1"
        assert await desk.level(sku) == (50 + row[1], 0)


async def test_several_lines_count_together(desk: Desk) -> None:
    skus = [await desk.sku(0) for _ in range(4)]
    made = await desk.give_back("elsewhere", *((sku, 3) for sku in skus))
    assert isinstance(made, Approval)
    assert made.units == 12
    done = await approvals.approve(desk.inventory, made.id, ANN, "looked at them")
    assert [(row.sku, row.quantity, row.reference_type) for row in done.transactions] == [
        (sku, 3, "ExternalOrder") for sku in skus
    ]


async def test_what_is_told(desk: Desk) -> None:
    skus = [await desk.sku(0) for _ in range(51)]
    made = await desk.give_back("elsewhere", *((sku, 2) for sku in skus))
    assert isinstance(made, Approval)
    (data,) = [json.loads(text) for (text,) in desk.rows("SELECT data FROM announcements")]
    assert data["lines"] == [{"sku": sku, "quantity": 2} for sku in skus[:50]]
    told = {name: value for name, value in data.items() if name not in {"lines", "requested_at", "expires_at"}}
    assert told == {
        "id": made.id,
        "status": "PENDING",
        "kind": "return",
        "line_count": 51,
        "reference": "elsewhere",
        "units": 102,
        "reason": "did not fit",
        "requested_by": CLERK,
        "decided_by": None,
        "decided_at": None,
        "decision_reason": None,
    }
    await approvals.reject(desk.inventory, made.id, ANN)


async def test_a_limit_of_0_asks_nobody(desk: Desk) -> None:
    sku = await desk.sku(0)
    free = desk.with_settings(approval_units=0)
    made = await change_stock(free, StockChange(kind="receive", lines=((sku, 10**9),), reason="much", actor=CLERK))
    assert isinstance(made, tuple)


NEVER: tuple[tuple[Any, int, type[Exception]], ...] = (
    ("remove", 51, InsufficientStock),
    ("damage", 51, InsufficientStock),
    ("receive", 0, InvalidRequest),
    ("receive", 10**9 + 1, InvalidRequest),
    ("count", -1, InvalidRequest),
    ("count", 10**12 + 1, InvalidRequest),
    ("return", 0, InvalidRequest),
)


async def test_what_cannot_be_is_said_at_once(desk: Desk) -> None:
    sku = await desk.sku(50)
    for kind, units, error in NEVER:
        with pytest.raises(error):
            await desk.change(kind, sku, units, reference="ref-1")
    for kind in ("receive", "remove", "count", "damage", "return"):
        with pytest.raises(UnknownSku):
            await desk.change(kind, "NOPE", 11, reference="ref-1")
        with pytest.raises(InvalidRequest):
            await desk.change(kind, sku, 1, reason="  a ", reference="ref-1")
        with pytest.raises(InvalidRequest):
            await desk.change(kind, sku, 1, reference="x" * 256)
    with pytest.raises(InvalidRequest):
        await desk.change("return", sku, 1)
    assert desk.rows("SELECT count(*) FROM approvals") == [(0,)]
    assert await desk.level(sku) == (50, 0)


async def test_nobody_decides_what_they_asked_for(desk: Desk) -> None:
    approval_id = await desk.asked("receive", await desk.sku(0), 11)
    for decide in (approvals.approve, approvals.reject):
        with pytest.raises(SelfApproval):
            await decide(desk.inventory, approval_id, CLERK)
        with pytest.raises(UnknownApproval):
            await decide(desk.inventory, "apr_none", ANN)
    await approvals.approve(desk.inventory, approval_id, ANN)
    with pytest.raises(SelfApproval):
        await approvals.approve(desk.inventory, approval_id, CLERK)


@pytest.mark.parametrize("first", ["approve", "reject"])
async def test_decided_once_and_repeatable_by_whoever_decided(desk: Desk, first: str) -> None:
    sku = await desk.sku(0)
    approval_id = await desk.asked("receive", sku, 11)
    decide, other = (
        (approvals.approve, approvals.reject) if first == "approve" else (approvals.reject, approvals.approve)
    )
    done = await decide(desk.inventory, approval_id, ANN, "as agreed")
    assert done.approval.status == ("APPROVED" if first == "approve" else "REJECTED")
    assert (done.approval.decided_by, done.approval.decision_reason) == (ANN, "as agreed")
    assert done.approval.decided_at is not None
    assert await decide(desk.inventory, approval_id, ANN, "again") == done
    assert await approvals.find(desk.inventory, approval_id) == done
    for again, by in ((decide, BEN), (other, ANN), (other, BEN)):
        with pytest.raises(ApprovalDecided) as refused:
            await again(desk.inventory, approval_id, by)
        assert refused.value.approval == done.approval
    assert await desk.level(sku) == (11 if first == "approve" else 0, 0)
    assert desk.told() == [("approval.requested", "PENDING"), ("approval.decided", done.approval.status)]


async def test_judged_against_the_holds_of_the_moment(desk: Desk) -> None:
    sku = await desk.sku(50)
    approval_id = await desk.asked("remove", sku, 40)
    held = await desk.hold(sku, 20)
    with pytest.raises(InsufficientStock) as refused:
        await approvals.approve(desk.inventory, approval_id, ANN)
    assert [(short.requested, short.available) for short in refused.value.shortages] == [(40, 30)]
    approval = await desk.state(approval_id)
    assert (approval.status, approval.intent) == ("PENDING", None)
    assert await desk.level(sku) == (50, 20)
    await desk.engine.release(held)
    done = await approvals.approve(desk.inventory, approval_id, BEN)
    assert done.approval.decided_by == BEN
    assert await desk.level(sku) == (10, 0)


async def test_more_than_a_sku_can_hold_by_the_time_of_the_decision(desk: Desk) -> None:
    sku = await desk.sku(10**12 - 11)
    approval_id = await desk.asked("receive", sku, 11)
    await desk.change("receive", sku, 1)
    with pytest.raises(StockLimit):
        await approvals.approve(desk.inventory, approval_id, ANN)
    assert (await approvals.reject(desk.inventory, approval_id, ANN)).approval.status == "REJECTED"


class TestKeys:
    async def test_the_same_request_again_is_the_same_approval_whatever_became_of_it(self, desk: Desk) -> None:
        sku = await desk.sku(0)
        approval_id = await desk.asked("receive", sku, 11, idempotency_key="k")
        assert await desk.asked("receive", sku, 11, idempotency_key="k") == approval_id
        with pytest.raises(KeyReused):
            await desk.change("receive", sku, 12, idempotency_key="k")
        with pytest.raises(KeyReused):
            await desk.change("receive", sku, 1, idempotency_key="k")
        await approvals.approve(desk.inventory, approval_id, ANN)
        again = await desk.change("receive", sku, 11, idempotency_key="k")
        assert isinstance(again, Approval)
        assert (again.id, again.status) == (approval_id, "APPROVED")
        assert await desk.level(sku) == (11, 0)
        # Another caller's key of the same name is another key.
        assert await desk.asked("receive", sku, 11, idempotency_key="k", actor="other") != approval_id

    async def test_at_once(self, desk: Desk) -> None:
        sku = await desk.sku(0)
        ids = await asyncio.gather(*(desk.asked("receive", sku, 11, idempotency_key="k") for _ in range(16)))
        assert len(set(ids)) == 1
        assert desk.told() == [("approval.requested", "PENDING")]

    async def test_at_once_with_different_bodies(self, desk: Desk) -> None:
        sku = await desk.sku(0)

        async def ask(units: int) -> str:
            try:
                return await desk.asked("receive", sku, units, idempotency_key="k")
            except KeyReused:
                return ""

        ids = await asyncio.gather(*(ask(11 + number % 4) for number in range(16)))
        assert len(set(ids) - {""}) == 1
        assert ids.count("") == 12

    async def test_without_a_key_each_is_its_own(self, desk: Desk) -> None:
        sku = await desk.sku(0)
        assert await desk.asked("receive", sku, 11) != await desk.asked("receive", sku, 11)


class TestCounts:
    async def test_what_was_sold_since_stays_sold(self, desk: Desk) -> None:
        """The count found 20 too few. By the time somebody agrees 5 more have left the shelf."""
        sku = await desk.sku(50)
        approval_id = await desk.asked("count", sku, 30)
        await desk.sell("o-1", (sku, 5))
        done = await approvals.approve(desk.inventory, approval_id, ANN)
        assert done.transactions[0].quantity == -20
        assert await desk.level(sku) == (25, 0)

    @pytest.mark.parametrize("counted", [30, 48], ids=["that-waits", "made-at-once"])
    async def test_a_newer_count_takes_the_place_of_one_that_waits(self, desk: Desk, counted: int) -> None:
        sku, other = await desk.sku(50), await desk.sku(50)
        approval_id, others = await desk.asked("count", sku, 30), await desk.asked("count", other, 30)
        removal = await desk.asked("remove", sku, 11)
        newer = await desk.change("count", sku, counted)
        approval = await desk.state(approval_id)
        assert (approval.status, approval.decided_by, approval.decision_reason) == ("EXPIRED", None, "counted again")
        with pytest.raises(ApprovalExpired):
            await approvals.approve(desk.inventory, approval_id, ANN)
        assert (await desk.state(others)).status == (await desk.state(removal)).status == "PENDING"
        if isinstance(newer, Approval):
            await approvals.approve(desk.inventory, newer.id, ANN)
        assert await desk.level(sku) == (counted, 0)

    @pytest.mark.parametrize(("stock", "counted"), [(0, 10**12), (10**12, 5)])
    async def test_differences_beyond_what_a_line_can_move(self, desk: Desk, stock: int, counted: int) -> None:
        sku = await desk.sku(stock)
        approval_id = await desk.asked("count", sku, counted)
        done = await approvals.approve(desk.inventory, approval_id, ANN)
        assert done.transactions[0].quantity == counted - stock
        assert await desk.level(sku) == (counted, 0)

    async def test_while_the_sku_moves(self, desk: Desk) -> None:
        """A count near the limit, while sales push it back and forth: made, or asked for, never lost."""
        sku = await desk.sku(50)

        async def trade() -> None:
            for _ in range(20):
                await desk.change("receive", sku, 3)
                await desk.change("remove", sku, 3)

        made, _, _ = await asyncio.gather(desk.change("count", sku, 61), trade(), trade())
        if isinstance(made, Approval):
            assert made.units > LIMIT
            made = (await approvals.approve(desk.inventory, made.id, ANN)).transactions
        assert len(made) == 1


class TestExpiry:
    async def make_stale(self, desk: Desk, *ids: str) -> None:
        desk.rows("UPDATE approvals SET expires_at = now() WHERE id = ANY(%s)", list(ids))

    async def test_enforced_at_the_decision_before_anybody_wrote_it_down(self, desk: Desk) -> None:
        sku = await desk.sku(50)
        approval_id = await desk.asked("remove", sku, 11)
        await self.make_stale(desk, approval_id)
        for decide in (approvals.approve, approvals.reject):
            with pytest.raises(ApprovalExpired) as refused:
                await decide(desk.inventory, approval_id, ANN)
            assert refused.value.approval.status == "EXPIRED"
        assert await desk.level(sku) == (50, 0)

    async def test_written_down_once(self, desk: Desk) -> None:
        sku = await desk.sku(50)
        stale = [await desk.asked("remove", sku, 11) for _ in range(3)]
        alive = await desk.asked("remove", sku, 11)
        await self.make_stale(desk, *stale)
        counts = await asyncio.gather(*(approvals.expire_stale(desk.inventory) for _ in range(4)))
        assert sum(counts) == 3
        assert [(await desk.state(one)).status for one in (*stale, alive)] == ["EXPIRED"] * 3 + ["PENDING"]
        approval = await desk.state(stale[0])
        assert (approval.decided_by, approval.decision_reason) == (None, "nobody decided in time")
        assert desk.told().count(("approval.decided", "EXPIRED")) == 3
        assert await approvals.expire_stale(desk.inventory) == 0

    async def test_the_time_is_the_setting(self, desk: Desk) -> None:
        sku = await desk.sku(50)
        change = StockChange(kind="remove", lines=((sku, 11),), reason="because", actor=CLERK)
        approval = await change_stock(desk.with_settings(approval_expiry_s=7200), change)
        assert isinstance(approval, Approval)
        assert (approval.expires_at - approval.requested_at).total_seconds() == 7200

    async def test_lists_tell_stale_ones_as_expired(self, desk: Desk) -> None:
        sku = await desk.sku(500)
        ids = [await desk.asked("remove", sku, 11) for _ in range(5)]
        await self.make_stale(desk, ids[0])
        await approvals.approve(desk.inventory, ids[1], ANN)
        await approvals.reject(desk.inventory, ids[2], ANN)
        for status, wanted in (
            ("EXPIRED", [ids[0]]),
            ("APPROVED", [ids[1]]),
            ("REJECTED", [ids[2]]),
            ("PENDING", [ids[4], ids[3]]),
            (None, ids[::-1]),
        ):
            page = await page_of_approvals(desk.inventory.database, status)  # type: ignore[arg-type]
            assert [one.id for one in page.items] == wanted, status
            assert status is None or {one.status for one in page.items} == {status}
        seen, cursor = [], None
        while True:
            page = await page_of_approvals(desk.inventory.database, None, 2, cursor)
            seen += [one.id for one in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == ids[::-1]
