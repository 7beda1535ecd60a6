"""What the journal says: one struct an event, and how an entry of the stream becomes events.

An entry is one batch: field `b` holds msgpack `[schema, epoch, first_seq, at_ms, [event, ...]]`. Events are arrays
with the verb first; the n-th event has sequence number `first_seq + n`. Lines are text, `SKU=a=on_hand=reserved`
with the balances *after* the event; `a` is the quantity the event is about (see each struct).
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

SCHEMA: Final = 1
"""Version of the journal entries and of `meta`; a reader accepts this and the one before."""


class Line(Struct, frozen=True):
    """One SKU's part of an event."""

    sku: str
    quantity: int
    on_hand: int
    reserved: int


class Reserved(Struct, frozen=True, array_like=True, tag="reserve"):
    """A hold began. Line quantity: units held by it."""

    id: str
    lines: str
    deadline_ms: int
    owner: str
    fingerprint: str
    details: str


class Amended(Struct, frozen=True, array_like=True, tag="amend"):
    """A hold changed. Line quantity: units held now, 0 for a SKU that was let go; all SKUs old and new stand here."""

    id: str
    lines: str
    deadline_ms: int
    actor: str


class Confirmed(Struct, frozen=True, array_like=True, tag="confirm"):
    """A hold became a sale. Line quantity: units sold, positive (the ledger's OUT rows negate it)."""

    id: str
    lines: str
    order_id: str
    actor: str
    late: bool
    """True if the hold had expired and the stock was taken again."""


class Released(Struct, frozen=True, array_like=True, tag="release"):
    """A hold was given back. Line quantity: units given back."""

    id: str
    lines: str
    actor: str


class Expired(Struct, frozen=True, array_like=True, tag="expire"):
    """A hold ended by itself. Line quantity: units given back."""

    id: str
    lines: str


class Adjusted(Struct, frozen=True, array_like=True, tag="adjust"):
    """on_hand changed. Line quantity: the signed change."""

    id: str
    lines: str
    transaction_type: str
    reason: str
    reference_type: str
    reference_id: str
    actor: str


class Configured(Struct, frozen=True, array_like=True, tag="configure"):
    """A SKU was created or its settings changed. Line quantity: 0."""

    lines: str
    safety_stock: int
    low_stock_threshold: int
    active: bool
    created: bool
    actor: str


class Announced(Struct, frozen=True, array_like=True, tag="announce"):
    """Something happened that moves no stock: an alert, an approval, an import."""

    id: str
    event_type: str
    data: str
    """JSON."""
    actor: str


Event = Reserved | Amended | Confirmed | Released | Expired | Adjusted | Configured | Announced


class Entry(Struct, frozen=True, array_like=True):
    """One batch in the journal."""

    schema: int
    epoch: int
    first_seq: int
    at_ms: int
    """Server clock of the batch, Unix milliseconds."""
    events: tuple[Event, ...]

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event."""
        return self.first_seq + len(self.events) - 1


decode_entry = msgspec.msgpack.Decoder(Entry).decode


def event_lines(text: str) -> list[Line]:
    """The lines of an event."""
    lines = []
    for part in text.split(",") if text else ():
        sku, quantity, on_hand, reserved = part.split("=")
        lines.append(Line(sku, int(quantity), int(on_hand), int(reserved)))
    return lines
