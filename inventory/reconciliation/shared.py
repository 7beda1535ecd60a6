"""One reconciliation at a time for everybody who asks in a process: they share its outcome while it is fresh.

Owns the sharing; never looks at a store itself (reconcile.py does).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from inventory.context import Inventory
from inventory.reconciliation.findings import Reconciliation
from inventory.reconciliation.reconcile import reconcile

FRESH_S: Final = 1.0
"""How long an outcome is given again instead of looking anew."""
PATIENCE_S: Final = 120.0
"""How long a caller waits for a verdict."""


class SharedReconciliation:
    """The latest outcome of this process. Belongs to the event loop that asks it."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._running: asyncio.Task[Reconciliation] | None = None
        self._latest: tuple[float, Reconciliation] | None = None

    def forget(self) -> None:
        """Something was put right: whoever asks next gets an outcome of a look that begins then."""
        self._latest = None
        self._running = None

    async def outcome(self) -> Reconciliation:
        """An outcome that is at most FRESH_S old, or the one that is under way. Raises as `reconcile` does."""
        if self._latest is not None and time.monotonic() - self._latest[0] < FRESH_S:
            return self._latest[1]
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="reconciliation")
        # One caller that goes away must not take the verdict from the others.
        return await asyncio.shield(self._running)

    async def _run(self) -> Reconciliation:
        found = await reconcile(self._inventory, timeout_s=PATIENCE_S)
        # Without the shadow, which is as large as the store.
        kept = Reconciliation(**{name: getattr(found, name) for name in Reconciliation.__struct_fields__})
        if self._running is asyncio.current_task():
            self._latest = (time.monotonic(), kept)
        return kept
