"""How much waits for somebody: approvals to decide, alerts to look at. Never writes."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import func, select

from persistence.database import Database
from persistence.tables import alerts, approvals


class OpenWork(Struct, frozen=True):
    """Numbers for the menu."""

    approvals: int
    alerts: int


async def count(database: Database) -> OpenWork:
    """Pending approvals that have not expired, and alerts that nobody has resolved. Raises DatabaseUnavailable."""
    pending = select(func.count()).where(approvals.c.status == "PENDING", approvals.c.expires_at > func.now())
    raised = select(func.count()).where(alerts.c.status.in_(("PENDING", "NOTIFIED")))
    both = select(pending.scalar_subquery().label("approvals"), raised.scalar_subquery().label("alerts"))
    (row,) = await database.fetch(both)
    return OpenWork(row.approvals, row.alerts)
