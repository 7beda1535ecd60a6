"""What every function of the service works with: the engine, the ledger, and the shop's own rules.

Owns no connection and starts nothing; whoever builds `Inventory` also closes what is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from inventory.refusals import LedgerLate

if TYPE_CHECKING:
    from engine import Engine
    from persistence.database import Database
    from persistence.watermark import Watermark

PARTITION: Final = 0


class InventorySettings(Struct, frozen=True, kw_only=True):
    """The shop's rules. Times in seconds unless the name says otherwise, quantities in units."""

    epoch: int = 1
    """Of the partition, as read from the ledger when the process started."""
    ledger_timeout_s: float = 10.0
    """How long a change waits for its ledger row before the answer is LedgerLate."""
    late_confirm: bool = False
    """A confirm of an expired hold takes the stock again if it is still there."""


class Inventory(Struct, frozen=True):
    """One process's hands on the stock."""

    engine: Engine
    database: Database
    watermark: Watermark
    settings: InventorySettings

    async def committed(self, seq: int) -> None:
        """Return once the ledger has event `seq`; raises LedgerLate when that takes longer than allowed."""
        settings = self.settings
        if not await self.watermark.reached(PARTITION, settings.epoch, seq, settings.ledger_timeout_s):
            raise LedgerLate
