"""Do counters and ledger agree? Asked under load, answered for one event in the journal. Changes nothing."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.hot.respond import timestamp
from api.openapi import operation
from api.requests import Reader, ServicesDep, json_answer
from api.schemas.reconciliation import CheckView, DriftView, ReconciliationView
from inventory.reconciliation.findings import Reconciliation
from inventory.reconciliation.shared import SharedReconciliation

router = APIRouter(prefix="/inventory", tags=["running it"])


@router.get(
    "/reconciliation",
    summary="Do counters, holds, journal and ledger agree?",
    **operation({200: ReconciliationView}, "reconciliation-unknown"),
)
async def get_reconciliation(request: Request, services: ServicesDep, caller: Reader) -> Response:
    """Looks at every counter and every live hold; several who ask at once, or within a second, share one answer."""
    state = request.app.state
    if getattr(state, "reconciliation", None) is None:
        state.reconciliation = SharedReconciliation(services.inventory)
    shared: SharedReconciliation = state.reconciliation
    return json_answer(reconciliation_view(await shared.outcome()))


def reconciliation_view(found: Reconciliation) -> ReconciliationView:
    """An outcome as the contract shows it."""
    return ReconciliationView(
        status="drift" if found.found else "ok",
        checked_skus=found.checked_skus,
        checked_holds=found.checked_holds,
        drift=[
            DriftView(
                drift.sku, drift.counter, drift.expected, drift.actual, drift.reservation_id or None, drift.detail
            )
            for drift in found.drift
        ],
        drift_found=found.found,
        checks=[CheckView(check.invariant, check.statement, check.looked_at, check.found) for check in found.checks],
        journal_lag_events=found.journal_lag_events,
        epoch=found.epoch,
        seq=found.seq,
        as_of=timestamp(found.as_of_ms),
        took_ms=found.took_ms,
    )
