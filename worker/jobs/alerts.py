"""Jobs of alerts: mails, the check against the live counters, the daily digest."""

from __future__ import annotations

from datetime import UTC, datetime

from inventory.alerts.alert_mail import mail_alerts
from inventory.alerts.check import check_alerts
from inventory.alerts.digest import make_digest
from worker.jobs.context import JobContext


async def mail(context: JobContext) -> str:
    """One mail of all alerts that no mail has told of."""
    return await mail_alerts(context.inventory)


async def check(context: JobContext) -> str:
    """Every SKU's alert held against its counters."""
    report = await check_alerts(context.inventory)
    return f"{report.skus} SKUs, {report.judged} low, out or with an alert; {report.changed} alerts changed"


async def digest(context: JobContext) -> str:
    """Today's digest, once it is due and unless it has been made."""
    return await make_digest(context.inventory, datetime.now(UTC))
