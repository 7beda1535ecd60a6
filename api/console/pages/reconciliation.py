"""Reconciliation: do counters, holds, journal and ledger agree, and putting right what does not.

Owns what a person sees and agrees to; what is checked and what can be repaired is inventory/reconciliation. A repair
does only what stood on the page that it was asked from, and looks again before it does.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from fastapi import APIRouter, Response

from api.auth import Permission
from api.console.access import ApprovalForm, Reading, Visit
from api.problems import invalid
from inventory.context import PARTITION
from inventory.job_report import report
from inventory.reconciliation.reconcile import reconcile
from inventory.reconciliation.repair import CounterRepair, DeadlineRepair, RepairPlan, plan_repair, repair
from inventory.reconciliation.shared import PATIENCE_S, SharedReconciliation
from persistence.queries import reconciliation

router = APIRouter(prefix="/console/reconciliation", include_in_schema=False)

SHOWN: Final = 200
"""Differences that the page shows; the rest is counted."""
JOB: Final = "reconciliation"
_AGREED: Final = msgspec.json.Decoder(tuple[tuple[CounterRepair, ...], tuple[DeadlineRepair, ...]])
_looking = asyncio.Lock()
"""One plan at a time in a process: each walks the whole store."""


@router.get("")
async def reconciliation_page(visit: Reading) -> Response:
    """How the latest scheduled run ended; with `check=now`, a look at everything at this moment."""
    services = visit.services
    inventory = services.inventory
    found = plan = None
    if visit.request.query_params.get("check") == "now":
        found = await _shared(visit).outcome()
        if found.found and visit.may(Permission.APPROVE):
            async with _looking:
                seen = await reconcile(inventory, timeout_s=PATIENCE_S)
                plan = await plan_repair(inventory, seen)
    jobs = {one.kind.name: one for one in (await report(services.database, services.jobs)).jobs}
    return visit.page(
        "reconciliation.html",
        "reconciliation",
        "Reconciliation",
        latest=await reconciliation.latest(inventory.database, PARTITION),
        job=jobs.get(JOB),
        found=found,
        drift=() if found is None else found.drift[:SHOWN],
        plan=plan,
        agreed="" if plan is None else msgspec.json.encode((plan.counters, plan.deadlines)).decode(),
    )


@router.post("/repair")
async def repair_drift(posted: ApprovalForm) -> Response:
    """Put right what the page showed, as far as it still differs. Goes into the ledger, with the reason."""
    reason = posted.form.reason()
    try:
        counters, deadlines = _AGREED.decode(posted.form.fields.get("agreed", ""))
    except (msgspec.MsgspecError, RecursionError):
        raise invalid("check again, and repair from the page that shows the drift", "agreed") from None
    agreed = RepairPlan(counters, deadlines)
    done = await repair(posted.services.inventory, reason=reason, actor=posted.viewer.caller.id, agreed=agreed)
    _shared(posted).forget()
    repaired = [one for one in done if one.outcome == "repaired"]
    others = [one for one in done if one.outcome != "repaired"]
    told = f"{len(repaired)} repaired." if repaired else "Nothing was repaired: what differed does not any more."
    if others:
        told += " " + "; ".join(f"{one.what}: {one.outcome}" for one in others[:5]) + "."
    return posted.go("/console/reconciliation?check=now", told, "bad" if others else "good")


def _shared(visit: Visit) -> SharedReconciliation:
    state = visit.request.app.state
    if getattr(state, "reconciliation", None) is None:
        state.reconciliation = SharedReconciliation(visit.services.inventory)
    shared: SharedReconciliation = state.reconciliation
    return shared
