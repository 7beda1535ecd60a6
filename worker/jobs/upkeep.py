"""Jobs that look after the service's own records: what is old is forgotten, what should be over is proved to be.

Owns how their results are told; the work stands in inventory/.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from inventory.leftover_holds import AT_MOST, GRACE_S, leftover_holds
from inventory.retention import forget_old_records
from persistence.queries import job_runs
from worker.jobs.context import JobContext

LEFTOVER_JOB: Final = "holds.leftover"
FIRST_LOOK_BACK: Final = timedelta(days=1)
OVERLAP: Final = timedelta(hours=1)
"""How far a look goes back behind the last one that found nothing."""
SETTLE_S: Final = GRACE_S
"""Between the two looks that must agree."""
SHOWN: Final = 5


class HoldsLeftBehind(Exception):
    """Holds that outlived their deadline; the message counts and names some."""


async def forget_old(context: JobContext) -> str:
    """Delete records that are older than the settings keep them."""
    gone = await forget_old_records(context.inventory)
    return (
        f"forgot {gone.reservations} reservations, {gone.events} event log entries, {gone.announcements} announcements,"
        f" {gone.deliveries} webhook deliveries, {gone.job_runs} job runs,"
        f" {gone.alerts} alerts, {gone.order_events} order events"
    )


async def prove_no_leftovers(context: JobContext) -> str:
    """Look for holds that outlived their deadline. Raises HoldsLeftBehind."""
    last = (await job_runs.latest(context.inventory.database, [LEFTOVER_JOB])).get(LEFTOVER_JOB)
    seen_until = None if last is None else last.last_ok_at
    since = datetime.now(UTC) - FIRST_LOOK_BACK if seen_until is None else seen_until - OVERLAP
    found = await leftover_holds(context.inventory, since, SETTLE_S)
    if not found:
        return f"no hold outlived its deadline since {since:%Y-%m-%d %H:%M} UTC"
    number = f"{len(found)} or more" if len(found) >= AT_MOST else str(len(found))
    some = ", ".join(f"{hold.reservation_id} ({hold.what} since {hold.expires_at:%H:%M:%S})" for hold in found[:SHOWN])
    raise HoldsLeftBehind(f"{number} holds outlived their deadline: {some}")
