"""From the journal to deliveries: every event that a webhook asks for becomes one row, exactly once.

Owns the choice of who gets what; the rows are written in the follower's own transaction, next to its cursor. Never
sends: once the rows are committed it asks for jobs that do, and the sweep makes up for whatever is lost there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from inventory.events.outgoing import outgoing_events
from inventory.job_queue import JobQueue
from inventory.webhooks.delivery import DELIVER_JOB
from inventory.webhooks.event_filter import wants
from inventory.webhooks.messages import event_message
from persistence.database import Transaction
from persistence.journal_entries import JournalEntry
from persistence.queries.webhook_deliveries import ROWS_A_STATEMENT, NewDelivery, add_deliveries
from persistence.queries.webhooks import subscriptions

BETWEEN_JOBS_S: Final = 1.0
"""A webhook with an event in every batch needs no job for every batch: one that runs sends all that is due."""


class WebhookConsumer:
    """The follower's consumer `webhooks`."""

    name = "webhooks"

    def __init__(self, jobs: JobQueue | None) -> None:
        """Without `jobs` nothing is asked for, and the sweep has everything sent."""
        self._jobs = jobs
        self._waiting: set[str] = set()
        self._asked_until: dict[str, float] = {}

    async def take(self, transaction: Transaction, entries: Sequence[JournalEntry]) -> None:
        """Keep a delivery for each event and each webhook that wants it."""
        asking = await subscriptions(transaction)
        if not asking:
            return
        rows: list[NewDelivery] = []
        for entry in entries:
            for seq, event in enumerate(outgoing_events(entry), entry.first_seq):
                body = ""
                for one in asking:
                    if wants(one.patterns, event.type) and (entry.epoch, seq) > (one.from_epoch, one.from_seq):
                        body = body or event_message(event)
                        rows.append(NewDelivery(one.webhook_id, event.id, event.type, body))
                        if not one.paused:
                            self._waiting.add(one.webhook_id)
            if len(rows) >= ROWS_A_STATEMENT:
                await add_deliveries(transaction, rows)
                rows.clear()
            # Flusher, sweeper and others live in this process as well.
            await asyncio.sleep(0)
        if rows:
            await add_deliveries(transaction, rows)

    async def committed(self) -> None:
        """What was taken is committed: have it sent."""
        if self._jobs is None:
            return
        now = time.monotonic()
        for webhook_id in self._waiting:
            asked_until = self._asked_until.get(webhook_id, 0.0)
            if asked_until <= now:
                await self._jobs.enqueue(DELIVER_JOB, webhook_id=webhook_id)
                self._asked_until[webhook_id] = now + BETWEEN_JOBS_S
            elif asked_until <= now + BETWEEN_JOBS_S:
                # One was asked for a moment ago and may be through: another at the end of the pause, and none besides.
                await self._jobs.enqueue(DELIVER_JOB, delay_s=asked_until - now, webhook_id=webhook_id)
                self._asked_until[webhook_id] = asked_until + BETWEEN_JOBS_S
        self._waiting.clear()
