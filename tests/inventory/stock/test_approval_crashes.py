"""An approver dies at every line of an approval: stock that moved is never rejected, and never moves twice.

A crash is an exception that nothing catches, thrown where a killed process would have stopped: what was committed
before stays, what was not is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from engine.commands import Adjust
from engine.errors import Disconnected, OutcomeUnknown
from inventory import approvals as service
from inventory.refusals import ApprovalDecided, InsufficientStock
from persistence.database import DatabaseUnavailable
from persistence.queries import approvals as rows
from persistence.queries.approvals import Approval
from tests.inventory.stock.conftest import ANN, BEN, CLERK, Desk


class Crash(BaseException):
    """The process is gone."""


class BrokenEngine:
    """The engine, until an adjustment comes: then it fails before or after it was applied."""

    def __init__(self, engine: Any, error: BaseException, *, after: bool) -> None:
        self._engine, self._error, self._after = engine, error, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def execute(self, command: Any) -> Any:
        if isinstance(command, Adjust) and command.lines[0][0] != "?":
            if self._after:
                assert (await self._engine.execute(command)).status == "ok"
            raise self._error
        return await self._engine.execute(command)


def broken(desk: Desk, error: BaseException, *, after: bool) -> Any:
    """The inventory of an approver whose engine fails."""
    return structs.replace(desk.inventory, engine=BrokenEngine(desk.engine, error, after=after))  # type: ignore[arg-type]


async def die_before_the_change(desk: Desk, approval_id: str, patch: pytest.MonkeyPatch) -> bool:
    with pytest.raises(Crash):
        await service.approve(broken(desk, Crash(), after=False), approval_id, ANN, "looked")
    return False


async def die_after_the_change(desk: Desk, approval_id: str, patch: pytest.MonkeyPatch) -> bool:
    with pytest.raises(Crash):
        await service.approve(broken(desk, Crash(), after=True), approval_id, ANN, "looked")
    return True


async def lose_the_answer(desk: Desk, approval_id: str, patch: pytest.MonkeyPatch) -> bool:
    with pytest.raises(OutcomeUnknown):
        await service.approve(broken(desk, OutcomeUnknown("lost"), after=True), approval_id, ANN, "looked")
    return True


async def die_before_the_outcome_is_committed(desk: Desk, approval_id: str, patch: pytest.MonkeyPatch) -> bool:
    approved = rows.approved

    async def then_die(*arguments: Any, **named: Any) -> None:
        assert await approved(*arguments, **named) is not None
        raise Crash

    with patch.context() as patched:
        patched.setattr(rows, "approved", then_die)
        with pytest.raises(Crash):
            await service.approve(desk.inventory, approval_id, ANN, "looked")
    return True


async def lose_postgres_at_the_outcome(desk: Desk, approval_id: str, patch: pytest.MonkeyPatch) -> bool:
    async def refuse(*arguments: Any, **named: Any) -> None:
        raise DatabaseUnavailable("gone")

    with patch.context() as patched:
        patched.setattr(rows, "approved", refuse)
        with pytest.raises(DatabaseUnavailable):
            await service.approve(desk.inventory, approval_id, ANN, "looked")
    return True


async def lose_postgres_once_the_intent_is_written(desk: Desk, approval_id: str, patch: pytest.MonkeyPatch) -> bool:
    note_intent = rows.note_intent

    async def then_lose_it(*arguments: Any, **named: Any) -> None:
        assert await note_intent(*arguments, **named) is not None
        raise DatabaseUnavailable("gone")

    with patch.context() as patched:
        patched.setattr(rows, "note_intent", then_lose_it)
        with pytest.raises(DatabaseUnavailable):
            await service.approve(desk.inventory, approval_id, ANN, "looked")
    return False


DEATHS = (
    die_before_the_change,
    die_after_the_change,
    lose_the_answer,
    die_before_the_outcome_is_committed,
    lose_postgres_at_the_outcome,
    lose_postgres_once_the_intent_is_written,
)
KINDS: tuple[tuple[Any, int, int], ...] = (("receive", 11, 11), ("damage", 11, -11), ("count", 31, -19))


async def no_engine_memory(desk: Desk) -> None:
    """The idempotency window has passed, or Redis was rebuilt: only the ledger remembers."""
    await desk.settle()
    for key in desk.client.scan_iter(match="{h00}:r:*"):
        desk.client.delete(key)


async def finish(desk: Desk, approval_id: str, who: str) -> None:
    """Somebody comes back to it."""
    if who == "the same":
        assert (await service.approve(desk.inventory, approval_id, ANN)).approval.status == "APPROVED"
    elif who == "the schedule":
        assert await service.finish_interrupted(desk.inventory, older_than_s=0) == 1
    else:
        decide = service.approve if who == "another" else service.reject
        with pytest.raises(ApprovalDecided) as refused:
            await decide(desk.inventory, approval_id, BEN)
        assert refused.value.approval.decided_by == ANN


@pytest.mark.parametrize("die", DEATHS)
async def test_whoever_comes_next_finds_it_made_once(
    desk: Desk, die: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for who in ("the same", "another", "a rejecter", "the schedule"):
        for kind, units, moves in KINDS:
            sku = await desk.sku(50)
            approval_id = await desk.asked(kind, sku, units)
            moved = await die(desk, approval_id, monkeypatch)
            assert await desk.level(sku) == (50 + moves if moved else 50, 0)
            # Not open any more: it neither expires nor makes room for a newer count.
            desk.rows("UPDATE approvals SET expires_at = now() WHERE id = %s", approval_id)
            assert await service.expire_stale(desk.inventory) == 0
            if moved and kind != "receive":
                await no_engine_memory(desk)
            await finish(desk, approval_id, who)
            assert await desk.level(sku) == (50 + moves, 0), (who, kind)
            await desk.settle()
            done = await service.find(desk.inventory, approval_id)
            assert (done.approval.status, done.approval.decided_by) == ("APPROVED", ANN)
            assert done.approval.decision_reason == "looked"
            assert [row.quantity for row in done.transactions] == [moves]
            assert desk.told()[-2:] == [("approval.requested", "PENDING"), ("approval.decided", "APPROVED")]
    assert await service.finish_interrupted(desk.inventory, older_than_s=0) == 0


async def test_a_return_is_found_as_well(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The return that was made must not stand in the way of finding it: nothing more may come back by now."""
    for order, forget in (("sold", False), ("sold-too", True), ("elsewhere", True)):
        sku = await desk.sku(50)
        if order != "elsewhere":
            await desk.sell(order, (sku, 11))
        before, _ = await desk.level(sku)
        made = await desk.give_back(order, (sku, 11))
        assert isinstance(made, Approval)
        await die_after_the_change(desk, made.id, monkeypatch)
        if forget:
            await no_engine_memory(desk)
        await finish(desk, made.id, "a rejecter")
        assert await desk.level(sku) == (before + 11, 0)


async def test_intended_but_no_longer_possible_is_open_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for decide, status in ((service.approve, "PENDING"), (service.reject, "REJECTED")):
        sku = await desk.sku(50)
        approval_id = await desk.asked("remove", sku, 45)
        await die_before_the_change(desk, approval_id, monkeypatch)
        await desk.hold(sku, 20)
        if status == "PENDING":
            with pytest.raises(InsufficientStock):
                await decide(desk.inventory, approval_id, BEN)
        else:
            await decide(desk.inventory, approval_id, BEN)
        approval = await desk.state(approval_id)
        assert (approval.status, approval.intent) == (status, None)
        assert await desk.level(sku) == (50, 20)


async def test_two_of_the_same_are_not_taken_for_each_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was made belongs to its own approval; the interrupted one has none yet."""
    sku = await desk.sku(50)
    first, second = await desk.asked("remove", sku, 11), await desk.asked("remove", sku, 11)
    await die_before_the_change(desk, first, monkeypatch)
    await service.approve(desk.inventory, second, BEN)
    assert await desk.level(sku) == (39, 0)
    await no_engine_memory(desk)
    await finish(desk, first, "the schedule")
    assert await desk.level(sku) == (28, 0)
    seqs = {(await desk.state(one)).applied_seq for one in (first, second)}
    assert len(seqs) == 2


async def test_one_that_stays_open_does_not_keep_the_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, other = (
        await desk.asked("receive", await desk.sku(0), 11),
        await desk.asked("damage", await desk.sku(50), 11),
    )
    for approval_id in (stuck, other):
        await die_before_the_change(desk, approval_id, monkeypatch)

    class HalfBroken(BrokenEngine):
        async def execute(self, command: Any) -> Any:
            return await (super() if command.transaction_type == "IN" else self._engine).execute(command)

    half = structs.replace(desk.inventory, engine=HalfBroken(desk.engine, Disconnected("away"), after=False))
    with pytest.raises(Disconnected):
        await service.finish_interrupted(half, older_than_s=0)
    assert (await desk.state(other)).status == "APPROVED"
    approval = await desk.state(stuck)
    assert approval.status == "PENDING"
    # Nobody knows yet how the first attempt ended, and the second has not found out: still not open to a rejection.
    assert approval.intent is not None
    assert await service.finish_interrupted(desk.inventory, older_than_s=0) == 1
    assert (await desk.state(stuck)).status == "APPROVED"


async def test_an_engine_that_was_not_asked_leaves_it_open(desk: Desk) -> None:
    sku = await desk.sku(50)
    approval_id = await desk.asked("receive", sku, 11)
    with pytest.raises(Disconnected):
        await service.approve(broken(desk, Disconnected("away"), after=False), approval_id, ANN)
    approval = await desk.state(approval_id)
    assert (approval.status, approval.intent) == ("PENDING", None)
    assert (await service.reject(desk.inventory, approval_id, BEN)).approval.status == "REJECTED"
    assert await desk.level(sku) == (50, 0)


async def test_asking_fails_whole(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No approval without its announcement, and none announced that is not there."""

    async def die(*arguments: Any) -> None:
        raise Crash

    sku = await desk.sku(50)
    with monkeypatch.context() as patched:
        patched.setattr(service, "announce", die)
        with pytest.raises(Crash):
            await desk.asked("receive", sku, 11, idempotency_key="k", actor=CLERK)
    assert desk.rows("SELECT count(*) FROM approvals") == [(0,)]
    await desk.asked("receive", sku, 11, idempotency_key="k", actor=CLERK)
    assert desk.told() == [("approval.requested", "PENDING")]
