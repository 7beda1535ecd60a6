"""Reservations that Redis no longer keeps, for the hot path: the service's answer with the hot path's exceptions.

Owns nothing but the translation; the decision stands in inventory/stored_reservations.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.problems import Problem
from inventory import stored_reservations
from inventory.refusals import ReservationStateUnknown

if TYPE_CHECKING:
    from api.services import Services
    from engine.results import Reservation


async def stored_reservation(services: Services, reservation_id: str, owner: str, now_ms: int) -> Reservation | None:
    """The reservation as Postgres has it, if `owner` (empty: anyone) may see it; None if it never was.

    Raises Problem `reservation-state-unknown`, and DatabaseUnavailable when Postgres is away.
    """
    try:
        return await stored_reservations.stored_reservation(services.database, reservation_id, owner, now_ms)
    except ReservationStateUnknown:
        raise Problem("reservation-state-unknown") from None
