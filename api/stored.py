"""Reservations that Redis no longer keeps: what Postgres remembers of them, and when that can be trusted.

Owns one decision: what an ACTIVE row without its Redis record means. Never writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from api.problems import Problem
from persistence.queries import reservations

if TYPE_CHECKING:
    from api.services import Services
    from engine.results import Reservation


async def stored_reservation(services: Services, reservation_id: str, owner: str, now_ms: int) -> Reservation | None:
    """The reservation as Postgres has it, if `owner` (empty: anyone) may see it.

    A row that is still ACTIVE although Redis has forgotten the hold: past its deadline it has expired (the ledger is
    only a moment behind); before it nobody can tell until Redis is rebuilt, and Problem `reservation-state-unknown`
    is raised. Problem `ledger-unavailable` when Postgres is away, so that nobody takes silence for a 404.
    """
    stored = await reservations.by_id(services.database, reservation_id)
    if stored is None or (owner and stored.owner != owner):
        return None
    if stored.status == "ACTIVE":
        if now_ms < stored.deadline_ms:
            raise Problem("reservation-state-unknown")
        return msgspec.structs.replace(stored, status="EXPIRED")
    return stored
