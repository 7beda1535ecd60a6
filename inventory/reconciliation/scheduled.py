"""The run that the timetable asks for: every level looked at, the outcome kept for the metrics, drift told loudly.

Owns what a scheduled run leaves behind; reconcile.py owns what it looks at.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import structlog

from inventory.context import PARTITION, Inventory
from inventory.reconciliation.reconcile import reconcile
from persistence.queries import reconciliation
from persistence.queries.reconciliation import LastReconciliation

LOGGED: Final = 20
"""Differences that one run writes into the log; all of them stand in `GET /inventory/reconciliation`."""

_log = structlog.stdlib.get_logger("inventory.reconciliation")


class DriftFound(Exception):
    """Something differs; the message says how much, and names the first."""


async def reconcile_and_tell(inventory: Inventory) -> str:
    """Reconcile once; one line for people. Raises DriftFound, and as `reconcile` does."""
    found = await reconcile(inventory, "levels")
    at = datetime.fromtimestamp(found.as_of_ms / 1000, UTC)
    outcome = LastReconciliation(
        at=at,
        age_s=0.0,
        found=found.found,
        checked_skus=found.checked_skus,
        checked_holds=found.checked_holds,
        took_ms=found.took_ms,
    )
    await reconciliation.remember(inventory.database, PARTITION, outcome, found.epoch, found.seq)
    looked_at = f"{found.checked_skus} SKUs and {found.checked_holds} holds at event {found.seq}"
    if not found.found:
        return f"ok: {looked_at}"
    for drift in found.drift[:LOGGED]:
        _log.error(
            "drift",
            counter=drift.counter,
            sku=drift.sku,
            expected=drift.expected,
            actual=drift.actual,
            reservation_id=drift.reservation_id,
            detail=drift.detail,
        )
    first = found.drift[0]
    raise DriftFound(
        f"{found.found} differences in {looked_at}; first {first.counter} of {first.sku or 'the journal'}: "
        f"expected {first.expected}, is {first.actual}"
    )
