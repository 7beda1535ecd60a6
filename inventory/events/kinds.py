"""The types of outgoing events: their names, and which of them the service announces itself.

Owns the list that SSE and webhooks share; never what an event carries (outgoing.py).
"""

from __future__ import annotations

from typing import Final

UNREADABLE: Final = "journal.unreadable"
"""Stands where the journal holds something that nobody can read, so that no sequence number is passed in silence."""

ANNOUNCED_TYPES: Final = (
    "stock.low",
    "stock.out",
    "stock.back",
    "approval.requested",
    "approval.decided",
    "import.applied",
)
"""Events that no command makes: they come by inventory/events/announcements.py."""

EVENT_TYPES: Final = (
    "reservation.created",
    "reservation.amended",
    "reservation.confirmed",
    "reservation.released",
    "reservation.expired",
    "stock.adjusted",
    *ANNOUNCED_TYPES,
    "product.changed",
    UNREADABLE,
)
"""Every type that a reader may meet and ask for."""
