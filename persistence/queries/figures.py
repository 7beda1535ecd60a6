"""Numbers of Postgres that a scrape asks for: what waits for webhooks, what was set aside, what waits for people.

Owns one statement of counts over indexes; never writes.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import text

from persistence.database import Database

_STATEMENT = text(
    "SELECT"
    " (SELECT coalesce(sum(n), 0) FROM webhooks w CROSS JOIN LATERAL (SELECT count(*) AS n FROM webhook_deliveries d"
    "   WHERE d.webhook_id = w.id AND d.status = 'PENDING') c WHERE w.status <> 'deleted') AS pending,"
    " (SELECT coalesce(sum(n), 0) FROM webhooks w CROSS JOIN LATERAL (SELECT count(*) AS n FROM webhook_deliveries d"
    "   WHERE d.webhook_id = w.id AND d.status = 'FAILED') c WHERE w.status <> 'deleted') AS failed,"
    " (SELECT coalesce(greatest(0, extract(epoch FROM clock_timestamp() - min(next_attempt_at))), 0)"
    "   FROM webhook_deliveries WHERE status = 'PENDING') AS late_s,"
    " (SELECT count(*) FROM webhooks WHERE status = 'disabled') AS disabled,"
    " (SELECT count(*) FROM journal_quarantine WHERE partition = :partition) AS quarantined,"
    " (SELECT count(*) FROM approvals WHERE status = 'PENDING' AND expires_at > now()) AS approvals,"
    " (SELECT count(*) FROM alerts WHERE status IN ('PENDING', 'NOTIFIED')) AS alerts"
)


class Figures(Struct, frozen=True):
    """Counts at one moment."""

    webhook_pending: int
    """Deliveries that are still to be made, of all webhooks."""
    webhook_failed: int
    """Deliveries that were given up and are still in the log."""
    webhook_late_s: float
    """How long the oldest attempt has been due; 0: none is."""
    webhooks_disabled: int
    quarantined: int
    """Journal events that were set aside, whatever was done about them since."""
    approvals_pending: int
    alerts_open: int


async def figures(database: Database, partition: int = 0) -> Figures:
    """The counts now. Raises DatabaseUnavailable."""
    (row,) = await database.fetch(_STATEMENT.bindparams(partition=partition))
    return Figures(
        webhook_pending=int(row.pending),
        webhook_failed=int(row.failed),
        webhook_late_s=float(row.late_s),
        webhooks_disabled=row.disabled,
        quarantined=row.quarantined,
        approvals_pending=row.approvals,
        alerts_open=row.alerts,
    )
