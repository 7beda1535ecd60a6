"""What every function of the service works with: the engine, the ledger, and the shop's own rules.

Owns no connection and starts nothing; whoever builds `Inventory` also closes what is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from inventory.mail import MailSettings
from inventory.refusals import LedgerLate
from inventory.rules import AlertRules, DigestSettings, RetentionRules, WebhookRules

if TYPE_CHECKING:
    from engine import Engine
    from persistence.database import Database
    from persistence.watermark import Watermark

PARTITION: Final = 0


class InventorySettings(Struct, frozen=True, kw_only=True):
    """The shop's rules. Times in seconds unless the name says otherwise, quantities in units."""

    ledger_timeout_s: float = 10.0
    """How long a change waits for its ledger row before the answer is LedgerLate."""
    late_confirm: bool = False
    """A confirm of an expired hold takes the stock again if it is still there."""
    import_max_rows: int = 200_000
    """Rows that one bulk import may have, the header not counted."""
    import_inline_rows: int = 5_000
    """A bulk import of more rows is read and applied by a background job."""
    preview_ttl_s: float = 86_400.0
    """How long a bulk import can be applied after it was uploaded."""
    approval_units: int = 1000
    """A change of more units than this in all waits for a second person; 0: none does."""
    approval_expiry_s: float = 72 * 3600
    """How long a request for approval may wait; what was asked for keeps the time it was given."""
    alerts: AlertRules = AlertRules()
    """When a SKU is low, has recovered, and is told of again."""
    mail: MailSettings | None = None
    """Where mails go; None: no mails are sent."""
    digest: DigestSettings = DigestSettings()
    """When the day's digest is made."""
    retention: RetentionRules = RetentionRules()
    """How long records are kept."""
    webhooks: WebhookRules = WebhookRules()
    """Where webhooks may lead, and how long one is tried."""


class Inventory(Struct, frozen=True):
    """One process's hands on the stock."""

    engine: Engine
    database: Database
    watermark: Watermark
    settings: InventorySettings

    @property
    def epoch(self) -> int:
        """Of the state that the engine serves."""
        return self.engine.epoch

    async def committed(self, seq: int, epoch: int) -> None:
        """Return once the ledger has event `seq` of `epoch`: both as the answer told them, for the epoch may have ended
        since.

        Raises LedgerLate when that takes longer than allowed, or the epoch ended without it.
        """
        wait_s = self.settings.ledger_timeout_s
        if not await self.watermark.reached(PARTITION, epoch, seq, wait_s):
            raise LedgerLate

    async def caught_up(self) -> None:
        """Return once the ledger has everything that was in the journal when this was called.

        Raises LedgerLate, Unavailable.
        """
        state = await self.engine.journal_state()
        await self.committed(state.seq, state.epoch)
