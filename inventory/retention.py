"""Forgetting what is old: reservations that ended long ago, the event log, runs of jobs. In small chunks.

Owns the order and what is told; each topic owns its own deletes. The ledger and the audit of admins are never touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from inventory.context import Inventory
from inventory.webhooks.sweep import forget_old_deliveries
from persistence.queries import alerts, announcements, job_runs, journal_archive, old_reservations, order_dead_letters

CHUNK: Final = 2_000
"""Rows that one statement looks at: a few milliseconds, so that nobody waits for it."""


class Forgotten(Struct, frozen=True):
    """How many records went."""

    reservations: int
    events: int
    announcements: int
    deliveries: int
    job_runs: int
    alerts: int
    order_events: int
    """Order events that had been set aside and were applied after all."""


async def forget_old_records(inventory: Inventory, now: datetime | None = None) -> Forgotten:
    """Delete what is older than the settings keep it. Raises DatabaseUnavailable; what was done by then stays done."""
    now = now or datetime.now(UTC)
    database, rules = inventory.database, inventory.settings.retention
    events_before = now - timedelta(seconds=rules.events_s)
    unfollowed_before = now - timedelta(seconds=rules.unfollowed_events_s)
    return Forgotten(
        reservations=await _forget_reservations(inventory, now - timedelta(seconds=rules.reservations_s)),
        events=await _until_done(lambda: journal_archive.forget(database, events_before, unfollowed_before, CHUNK)),
        announcements=await _until_done(lambda: announcements.forget(database, events_before, CHUNK)),
        deliveries=await forget_old_deliveries(inventory),
        job_runs=await _until_done(lambda: job_runs.prune(database, rules.job_runs, CHUNK)),
        alerts=await _until_done(lambda: alerts.forget(database, now - timedelta(seconds=rules.reservations_s), CHUNK)),
        order_events=await _until_done(
            lambda: order_dead_letters.forget(database, now - timedelta(seconds=rules.reservations_s), CHUNK)
        ),
    )


async def _forget_reservations(inventory: Inventory, before: datetime) -> int:
    done = await old_reservations.forget_ended(inventory.database, before, None, CHUNK)
    total = done.deleted
    while done.place is not None:
        done = await old_reservations.forget_ended(inventory.database, before, done.place, CHUNK)
        total += done.deleted
    return total


async def _until_done(forget: Callable[[], Awaitable[int]]) -> int:
    total = 0
    while True:
        gone = await forget()
        total += gone
        if gone < CHUNK:
            return total
