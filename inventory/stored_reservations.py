"""Reservations that Redis no longer keeps: what Postgres remembers of them, and when that can be trusted.

Owns one decision: what an ACTIVE row without its Redis record means. Never writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from inventory.refusals import ReservationStateUnknown
from persistence.queries import reservations

if TYPE_CHECKING:
    from engine.results import Reservation
    from persistence.database import Database


async def stored_reservation(database: Database, reservation_id: str, owner: str, now_ms: int) -> Reservation | None:
    """The reservation as Postgres has it, if `owner` (empty: anyone) may see it. `now_ms`: server clock, Unix ms.

    A row that is still ACTIVE although Redis has forgotten the hold: past its deadline it has expired (the ledger is
    only a moment behind); before it nobody can tell until Redis is rebuilt. Raises ReservationStateUnknown then, and
    DatabaseUnavailable when Postgres is away, so that nobody takes silence for "never was".
    """
    stored = await reservations.by_id(database, reservation_id)
    if stored is None or (owner and stored.owner != owner):
        return None
    if stored.status == "ACTIVE":
        if now_ms < stored.deadline_ms:
            raise ReservationStateUnknown
        return structs.replace(stored, status="EXPIRED")
    return stored
