"""What the generator saw, request by request: the only thing the oracle and the report are given.

Owns the record. Never interprets it.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Verb(StrEnum):
    """The kinds of request a buyer sends."""

    RESERVE = "reserve"
    CONFIRM = "confirm"
    RELEASE = "release"


class Seen(Struct, frozen=True, array_like=True, gc=False):
    """One request as it was sent and answered. Instants are seconds of the machine's monotonic clock."""

    buyer: int
    verb: Verb
    scheduled_s: float
    """When it was meant to be sent; latency counts from here."""
    asked_s: float
    """When the generator got round to it: less `scheduled_s`, how late the generator itself was."""
    sent_s: float
    """When it went to a connection, after waiting for a free one. No unit can have moved for it before."""
    answered_s: float
    status: int
    """HTTP status; 0 if no answer came."""
    code: str = ""
    """Problem code of an answer that is not a success."""
    target: str = ""
    """Reservation that a confirm or release was about."""
    reservation: str = ""
    """Id of the reservation in the answer."""
    state: str = ""
    """Its status there."""
    replayed: bool = False
    body_hash: str = ""
    """Of a reserve's 201: the same key must give the same body."""
    repeat: int = 0
    """0 for the first send; above, the outcome of the one before was unknown (503 or no answer)."""
    final: bool = True
    """False if it was sent again because its outcome was unknown."""


class Looked(Struct, frozen=True, array_like=True):
    """A reservation as it read after the sale, when every deadline had passed."""

    reservation: str
    status: int
    state: str
