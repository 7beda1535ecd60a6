"""Who follows the journal in the worker: the list of consumers, each behind a follower with a cursor of its own.

Owns the list alone. A new consumer: an object of worker/follower.py's `Consumer`, and a line here.
"""

from __future__ import annotations

from inventory.alerts.evaluator import StockAlerts
from inventory.context import Inventory
from inventory.job_queue import JobQueue
from inventory.webhooks.consumer import WebhookConsumer
from worker.follower import Consumer


def consumers(inventory: Inventory, jobs: JobQueue | None) -> list[Consumer]:
    """Every consumer of one worker. `jobs` takes what is to be done at once; None: its schedule does it."""
    return [
        StockAlerts(inventory.engine.stock_levels, inventory.settings.alerts),
        WebhookConsumer(jobs),
    ]
