"""The check of all alerts against the live counters: the first look at a store, and whatever events cannot tell.

Owns the walk; what a sighting means is states.py's. The journal keeps alerts in step by itself; this finds what began
before alerts existed, after a rebuild, or while somebody changed the tables by hand.
"""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct

from engine.errors import NotReady
from engine.results import StockLevel
from inventory.alerts.evaluator import Watched, evaluate
from inventory.alerts.states import Sighting
from inventory.context import Inventory
from persistence.queries import alerts

CHECK_JOB: Final = "alerts.check"
"""The job that does this: every 15 minutes, and whenever a worker starts."""
SKUS_A_TRANSACTION: Final = 500


class CheckReport(Struct, frozen=True):
    """What a check found."""

    skus: int
    """In the store."""
    judged: int
    """Those that are low or out, or have an alert."""
    changed: int
    """Alerts that were raised, changed or ended."""


async def check_alerts(inventory: Inventory) -> CheckReport:
    """Hold every SKU's alert against its counters. Safe at any time and beside others that do the same.

    Raises DatabaseUnavailable, engine.errors.Unavailable; what was done until then stays.
    """
    levels = await inventory.engine.stock_levels(None)
    judged = {level.sku for level in levels if level.active and (level.available < max(1, level.low_stock_threshold))}
    judged |= set(await alerts.current_skus(inventory.database))
    skus, changed = sorted(judged), 0
    for offset in range(0, len(skus), SKUS_A_TRANSACTION):
        changed += await _check_some(inventory, skus[offset : offset + SKUS_A_TRANSACTION])
    return CheckReport(len(levels), len(skus), changed)


async def _check_some(inventory: Inventory, skus: list[str]) -> int:
    async with inventory.database.transaction() as transaction:
        # Looked at while no batch of the journal is half taken: whatever happens to these SKUs from here on is a later
        # event, and is taken after us.
        await alerts.checking(transaction)
        state = await inventory.engine.journal_state()
        if state.epoch != inventory.epoch:
            raise NotReady(f"Redis is of epoch {state.epoch}, this process of {inventory.epoch}")
        now_ms = time.time_ns() // 1_000_000
        levels = await inventory.engine.stock_levels(skus)
        watched = {level.sku: Watched((_sighting(level, now_ms),), state.epoch, state.seq) for level in levels}
        return await evaluate(transaction, watched, inventory.settings.alerts)


def _sighting(level: StockLevel, now_ms: int) -> Sighting:
    return Sighting(
        sku=level.sku,
        available=level.available,
        threshold=level.low_stock_threshold,
        active=level.active,
        stocked=level.on_hand > 0,
        arrived=False,
        at_ms=now_ms,
    )
