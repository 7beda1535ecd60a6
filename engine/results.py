"""What the state machine gives. Statuses stand in precedence order: the first that applies wins."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import Struct

from engine.commands import parse_lines
from engine.identity import make_id

ReservationStatus = Literal["ACTIVE", "COMPLETED", "CANCELLED", "EXPIRED"]


class Status(StrEnum):
    """Every answer a command can get, in precedence order over all verbs (each verb uses a part of it)."""

    MALFORMED = "malformed"
    KEY_REUSED = "key_reused"
    REPLAYED = "replayed"
    UNKNOWN_RESERVATION = "unknown_reservation"
    EXPIRED = "expired"
    NOT_ACTIVE = "not_active"
    NOT_DUE = "not_due"
    UNKNOWN_SKU = "unknown_sku"
    PRODUCT_INACTIVE = "product_inactive"
    INSUFFICIENT_STOCK = "insufficient_stock"
    DUE_HOLDS = "due_holds"
    STOCK_LIMIT = "stock_limit"
    OK = "ok"


class Details(Struct, frozen=True, omit_defaults=True):
    """What a reservation carries that Lua need not understand. Travels as JSON."""

    customer_id: str
    cart_id: str | None = None
    ttl_ms: int = 0
    """As first asked, so that a replay can give the first answer again."""
    requested: str = ""
    """Lines as first asked, when the reservation may be partial."""


class Record(Struct, frozen=True, array_like=True):
    """A reservation as Redis keeps it; fields in the order of `lua/lib/records.lua`."""

    status: ReservationStatus
    created_ms: int
    deadline_ms: int
    updated_ms: int
    owner: str
    fingerprint: str
    lines: str
    first_lines: str
    """Lines as first granted, kept once an amend changes them; empty while they are the same."""
    order_id: str
    details: str


class Reservation(Struct, frozen=True):
    """A reservation as callers see it."""

    id: str
    status: ReservationStatus
    owner: str
    customer_id: str
    cart_id: str | None
    order_id: str | None
    lines: tuple[tuple[str, int], ...]
    created_ms: int
    updated_ms: int
    deadline_ms: int


class Shortage(Struct, frozen=True, array_like=True):
    """One line that could not be held whole."""

    sku: str
    requested: int
    available: int
    next_release_ms: int
    """Deadline of the next hold on this SKU among the next few hundred deadlines; 0 if there is none."""


class StockLevel(Struct, frozen=True, array_like=True):
    """The counters of one SKU at one moment."""

    sku: str
    on_hand: int
    reserved: int
    safety_stock: int
    low_stock_threshold: int
    active: bool
    next_release_ms: int = 0

    @property
    def available(self) -> int:
        """Units that may still be held: on_hand - reserved - safety_stock, never below 0."""
        return max(0, self.on_hand - self.reserved - self.safety_stock)


class Movement(Struct, frozen=True, array_like=True):
    """One line of an applied adjustment."""

    sku: str
    quantity: int
    """Signed change of on_hand, in units."""
    on_hand: int
    reserved: int


class Result(Struct, frozen=True):
    """The answer to one command.

    `now_ms` is the server clock of the batch; `seq` the journal sequence number that holds this command's effect (or
    anything before it): once the ledger has passed `seq`, this answer is in Postgres.
    """

    status: str
    now_ms: int
    seq: int
    reservations: tuple[Reservation, ...] = ()
    shortages: tuple[Shortage, ...] = ()
    skus: tuple[str, ...] = ()
    levels: tuple[StockLevel, ...] = ()
    movements: tuple[Movement, ...] = ()
    adjustment_id: str = ""
    first_seq: int = 0
    """Sequence number of this command's own first event; 0 if it made none."""


_details = msgspec.json.Decoder(Details).decode


def reservation_of(base: str, record: Record) -> Reservation:
    """A stored record as callers see it."""
    details = _details(record.details)
    return Reservation(
        id=make_id(base, record.created_ms),
        status=record.status,
        owner=record.owner,
        customer_id=details.customer_id,
        cart_id=details.cart_id,
        order_id=record.order_id or None,
        lines=parse_lines(record.lines),
        created_ms=record.created_ms,
        updated_ms=record.updated_ms,
        deadline_ms=record.deadline_ms,
    )
