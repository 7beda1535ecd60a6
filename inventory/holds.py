"""One hold given back by hand, by somebody who is not the customer's storefront.

Owns what the engine's answer means then. Never decides who may do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.commands import Release
from engine.identity import is_reservation_id, split_id
from engine.results import Status
from inventory.refusals import (
    ReservationExpired,
    ReservationNotActive,
    ReservationStateUnknown,
    UnknownReservation,
)
from inventory.stored_reservations import stored_reservation

if TYPE_CHECKING:
    from engine.results import Reservation
    from inventory.context import Inventory


async def release_by_hand(inventory: Inventory, reservation_id: str, actor: str) -> Reservation:
    """Give a hold back whoever made it; `actor`: id of the API key, kept in the journal. Again: the same answer.

    Raises UnknownReservation, ReservationExpired, ReservationNotActive, ReservationStateUnknown, Unavailable,
    DatabaseUnavailable.
    """
    if not is_reservation_id(reservation_id):
        raise UnknownReservation
    base, created_ms = split_id(reservation_id)
    result = await inventory.engine.execute(Release(base, created_ms, "", actor))
    if result.status in {Status.OK, Status.REPLAYED}:
        return result.reservations[0]
    if result.status == Status.EXPIRED:
        raise ReservationExpired(result.reservations[0], result.now_ms)
    if result.status == Status.NOT_ACTIVE:
        raise ReservationNotActive(result.reservations[0], result.now_ms)
    if result.status == Status.INCONSISTENT:
        raise ReservationStateUnknown
    stored = await stored_reservation(inventory.database, reservation_id, "", result.now_ms)
    if stored is None:
        raise UnknownReservation
    if stored.status == "EXPIRED":
        raise ReservationExpired(stored, result.now_ms)
    if stored.status == "CANCELLED":
        return stored
    raise ReservationNotActive(stored, result.now_ms)
