"""The proof that the sweeper left nothing behind: no hold that outlived its deadline, in Redis or in the ledger.

Owns the looking, at both and twice; never ends a hold. What it finds is damage, or a sweeper that does not run.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from engine.identity import BASE_LENGTH
from inventory.context import PARTITION, Inventory
from inventory.refusals import LedgerLate
from persistence.queries import old_reservations

GRACE_S: Final = 5.0
"""How long after its deadline a hold may still be there."""
AT_MOST: Final = 1_000
"""Holds of either kind that are told; there may be more."""
LEDGER_WITHIN_S: Final = 30.0


class Leftover(Struct, frozen=True, order=True):
    """A hold that should be over."""

    reservation_id: str
    expires_at: datetime
    what: Literal["held", "forgotten"]
    """`held`: Redis still has it. `forgotten`: the ledger has it as ACTIVE, and Redis knows nothing of it."""


async def leftover_holds(inventory: Inventory, since: datetime, settle_s: float = GRACE_S) -> tuple[Leftover, ...]:
    """Every hold that is left over, found twice, `settle_s` seconds apart, so that none is told that is just ending.

    `since`: the ledger's holds with a deadline before that were looked at by an earlier run. Raises LedgerLate when the
    ledger does not follow, so that nothing is proved; engine.errors.Unavailable, DatabaseUnavailable.
    """
    first = set(await _look(inventory, since))
    if not first:
        return ()
    await asyncio.sleep(settle_s)
    return tuple(sorted(first & set(await _look(inventory, since))))


async def _look(inventory: Inventory, since: datetime) -> list[Leftover]:
    reader = inventory.engine.store_reader()
    moment = await reader.moment()
    until_ms = moment.now_ms - round(GRACE_S * 1000)
    held = await reader.deadlines_before(until_ms, AT_MOST)
    found = [Leftover(hold.reservation_id, _time(hold.deadline_ms), "held") for hold in held.items]
    # The end of a hold reaches the ledger a moment later: what it says counts once it stands where Redis stood.
    if not await inventory.watermark.reached(PARTITION, moment.epoch, moment.seq, LEDGER_WITHIN_S):
        raise LedgerLate("the ledger is behind the journal: what it has of old holds proves nothing")
    overdue = await old_reservations.overdue(inventory.database, since, _time(until_ms), AT_MOST)
    known = await reader.active_records([hold.id[:BASE_LENGTH] for hold in overdue])
    deadlines = {base: record.deadline_ms for base, record in known.items if record is not None}
    told = {hold.reservation_id for hold in found}
    for hold in overdue:
        deadline_ms = deadlines.get(hold.id[:BASE_LENGTH])
        if deadline_ms is None:
            found.append(Leftover(hold.id, hold.expires_at, "forgotten"))
        elif deadline_ms < until_ms and hold.id not in told:
            # Its record is there, its deadline is not: nobody would ever end it. A later deadline: amended since.
            found.append(Leftover(hold.id, hold.expires_at, "held"))
    return found


def _time(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=unix_ms)
