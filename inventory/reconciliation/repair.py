"""Drift put right: what can be repaired is worked out, authorised on record, and moved back by the state machine.

Owns which differences are safe to repair and in which order that is done; never touches a counter itself.

A counter that was changed outside the engine is off by the same number whatever the SKU does meanwhile, so it is moved
back by that number and no sale has to stop for it. First the difference is put on record, then the engine's Repair
moves the counter; once that is known to be done, or where its own event stands, the flusher takes the drift over as a
row of the ledger, and the repair as another, both with the reason and who asked. If it is cut off in between, the next
repair finishes it: by sending the same command again, or by what journal and ledger have of it.

Truth is what ledger and journal say. Where Postgres contradicts itself, or an event was lost, there is no such truth to
repair to, and the difference is left to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from engine import Repair
from engine.identity import random_base
from engine.results import Status
from inventory.context import PARTITION, Inventory
from inventory.reconciliation.findings import Drift
from inventory.reconciliation.reconcile import OVERSOLD, Reconciled, reconcile
from inventory.reconciliation.shadow import NO_BREAKS, Shadow
from persistence.queries import drift_repairs, reconciliation
from persistence.queries.drift_repairs import CorrectionLine, DriftRepair

RESEND_WITHIN_S: Final = 50.0
"""A repair with an unknown outcome is sent again only while Redis surely remembers its id: the idempotency window, a
minute at the least. Later the journal and the ledger tell whether it was done."""


_COUNTERS: Final = frozenset({"on_hand", "reserved", "journal"})
"""What differs where a repair moves a counter; `journal` with a SKU is a break that has gone again."""


class CounterRepair(Struct, frozen=True):
    """One SKU's counters, moved by these units."""

    sku: str
    on_hand_change: int
    reserved_change: int


class DeadlineRepair(Struct, frozen=True):
    """A live hold gets the deadline back that Redis has lost."""

    reservation_id: str
    lines: str
    deadline_ms: int


class LeftAlone(Struct, frozen=True):
    """A difference that a person has to judge, and why."""

    drift: Drift
    why: str


class RepairPlan(Struct, frozen=True):
    """What a repair would do."""

    counters: tuple[CounterRepair, ...] = ()
    deadlines: tuple[DeadlineRepair, ...] = ()
    left: tuple[LeftAlone, ...] = ()

    @property
    def empty(self) -> bool:
        """True if there is nothing that a repair would do."""
        return not self.counters and not self.deadlines


class Repaired(Struct, frozen=True):
    """What was done about one SKU or hold."""

    what: str
    """The SKU, or the reservation's id."""
    outcome: str
    """`repaired`, `changed meanwhile`, or the state machine's refusal."""
    seq: int = 0
    """Of the repair's event; 0 when there is none."""


async def plan_repair(inventory: Inventory, found: Reconciled) -> RepairPlan:
    """What can be repaired of what was found, and what cannot. Changes nothing. Raises DatabaseUnavailable."""
    return (await _Planner(inventory, found).plan())[0]


async def repair(
    inventory: Inventory, *, reason: str, actor: str, agreed: RepairPlan | None = None
) -> tuple[Repaired, ...]:
    """Look again, and repair what can be; `agreed`: only what somebody has seen in this plan.

    Returns once every repair is in the journal; the ledger follows. Raises ReconciliationUnknown, Unavailable,
    DatabaseUnavailable: what was begun is then finished by the next repair.
    """
    async with drift_repairs.repair_lock(inventory.database, PARTITION):
        found = await reconcile(inventory)
        outcomes = await _finish_begun(inventory, found)
        if outcomes:
            found = await reconcile(inventory)
        plan, corrections = await _Planner(inventory, found).plan()
        for counters in plan.counters:
            if agreed is None or counters in agreed.counters:
                lines = ((counters.sku, counters.on_hand_change, counters.reserved_change),)
                begun = DriftRepair(random_base(), found.epoch, lines, reason, actor)
                await drift_repairs.begin(inventory.database, PARTITION, begun, corrections[counters.sku])
                outcomes.append(await _send(inventory, begun))
        for deadline in plan.deadlines:
            if agreed is None or deadline in agreed.deadlines:
                restored = await inventory.engine.store_reader().restore_deadline(
                    deadline.reservation_id, deadline.lines, deadline.deadline_ms
                )
                outcomes.append(Repaired(deadline.reservation_id, "repaired" if restored else "changed meanwhile"))
        return tuple(outcomes)


class _Planner:
    """Sorts what was found into what can be repaired and what cannot."""

    def __init__(self, inventory: Inventory, found: Reconciled) -> None:
        self._database = inventory.database
        self._found = found
        self._shadow: Shadow = found.shadow
        self._left: list[LeftAlone] = []
        self._unclear_holds: set[str] = set()
        """SKUs of holds that differ in a way that is not repaired here."""
        self._lost_seq = 0
        self._doubts: dict[str, str] = {}
        """SKU -> why the ledger itself is no truth to repair to."""

    async def plan(self) -> tuple[RepairPlan, dict[str, tuple[CorrectionLine, ...]]]:
        """The plan, and for each SKU in it what the flusher is to be allowed."""
        drifts = self._found.drift
        deadlines = self._deadlines(drifts)
        changes: dict[str, tuple[int, int]] = {}
        wanted = [drift for drift in drifts if drift.counter in _COUNTERS and drift.sku and drift.detail != OVERSOLD]
        repaired = {drift.sku for drift in wanted}
        for drift in drifts:
            if drift.detail == OVERSOLD and drift.sku not in repaired:
                self._left.append(LeftAlone(drift, "the ledger says so too: stock has been promised that is not there"))
        await self._ask_ledger(sorted({drift.sku for drift in wanted}))
        for drift in wanted:
            why = self._why_not(drift)
            if why:
                self._left.append(LeftAlone(drift, why))
                continue
            on_hand, reserved = changes.get(drift.sku, (0, 0))
            if drift.counter == "on_hand":
                on_hand = drift.expected - drift.actual
            elif drift.counter == "reserved":
                reserved = drift.expected - drift.actual
            changes[drift.sku] = (on_hand, reserved)
        corrections = {sku: self._corrections(sku, -on_hand) for sku, (on_hand, _) in changes.items()}
        counters = tuple(CounterRepair(sku, *change) for sku, change in sorted(changes.items()))
        return RepairPlan(counters, deadlines, tuple(self._left)), corrections

    def _deadlines(self, drifts: Sequence[Drift]) -> tuple[DeadlineRepair, ...]:
        lost: dict[str, DeadlineRepair] = {}
        for drift in drifts:
            held = self._shadow.holds.get(drift.reservation_id)
            if drift.counter == "hold" and held is not None and "no deadline" in drift.detail:
                lost[drift.reservation_id] = DeadlineRepair(drift.reservation_id, held.lines, held.deadline_ms)
            elif drift.counter in {"hold", "deadline", "record"}:
                self._unclear_holds.add(drift.sku)
                self._left.append(LeftAlone(drift, "a hold that Redis and Postgres tell differently"))
            elif drift.counter not in _COUNTERS or not (drift.sku or drift.reservation_id):
                self._left.append(LeftAlone(drift, _LEFT.get(drift.counter, "no repair is known for it")))
        return tuple(lost.values())

    async def _ask_ledger(self, skus: Sequence[str]) -> None:
        self._lost_seq = await reconciliation.lost_events(self._database, PARTITION, self._found.epoch)
        for start in range(0, len(skus), 200):
            for balance in await reconciliation.balances(self._database, PARTITION, skus[start : start + 200]):
                if balance.on_hand != balance.newest or balance.total != balance.on_hand or balance.breaks:
                    self._doubts[balance.sku] = "the ledger contradicts itself about this SKU"
                elif self._lost_seq > (balance.level_seq if balance.level_epoch == self._found.epoch else 0):
                    self._doubts[balance.sku] = "an event in quarantine may explain it; the SKU's next event will tell"

    def _why_not(self, drift: Drift) -> str:
        sku = drift.sku
        if self._shadow.bad_events:
            return "the journal holds an event that cannot be read; it goes to quarantine first"
        if sku in self._doubts:
            return self._doubts[sku]
        if self._shadow.allowed.get(sku):
            return "a repair of this SKU is under way"
        if drift.counter == "reserved" and sku in self._unclear_holds:
            return "its holds differ as well, so it is not clear how much is held"
        return ""

    def _corrections(self, sku: str, drift: int) -> tuple[CorrectionLine, ...]:
        """Every step by which the drift came into the journal, and what has not come into it yet."""
        breaks = self._shadow.breaks.get(sku, NO_BREAKS)
        steps = [CorrectionLine(sku, one.difference, one.seq - 1) for one in breaks]
        rest = drift - sum(one.difference for one in breaks)
        if rest:
            steps.append(CorrectionLine(sku, rest, self._found.seq))
        return tuple(steps)


_LEFT: Final = {
    "counter": "the counter is missing or cannot be read: rebuild the partition",
    "ledger_reserved": "the SKU's next event writes it anew",
    "ledger_balance": "Postgres contradicts itself: find out who wrote to it",
    "ledger_sum": "Postgres contradicts itself: find out who wrote to it",
    "ledger_chain": "Postgres contradicts itself: find out who wrote to it",
    "journal": "a gap cannot be filled: restore or rebuild",
    "quarantine": "see journal_quarantine",
    "repair": "the repair that was begun is finished first",
}


async def _send(inventory: Inventory, begun: DriftRepair) -> Repaired:
    sku = begun.lines[0][0]
    command = Repair(begun.id, begun.lines, begun.reason, begun.id, begun.created_by, begun.epoch)
    result = await inventory.engine.execute(command)
    if result.status in {Status.OK, Status.REPLAYED}:
        await drift_repairs.done(inventory.database, begun.id, result.first_seq)
        return Repaired(sku, "repaired", result.first_seq)
    await drift_repairs.refused(inventory.database, begun.id, str(result.status))
    return Repaired(sku, f"refused: {result.status}")


async def _finish_begun(inventory: Inventory, found: Reconciled) -> list[Repaired]:
    """Repairs whose outcome nobody heard: sent again, or settled by what journal and ledger have of them."""
    outcomes = []
    database = inventory.database
    for begun in await drift_repairs.unfinished(database, PARTITION, found.epoch):
        if begun.age_s < RESEND_WITHIN_S:
            outcomes.append(await _send(inventory, begun))
            continue
        seq = found.shadow.repairs.get(begun.id)
        seq = seq or await drift_repairs.ledger_seq(database, PARTITION, found.epoch, begun.id)
        if seq is None:
            await drift_repairs.refused(database, begun.id, "never arrived")
            outcomes.append(Repaired(begun.lines[0][0], "begun before, never arrived"))
        else:
            await drift_repairs.done(database, begun.id, seq)
            outcomes.append(Repaired(begun.lines[0][0], "repaired", seq))
    return outcomes
