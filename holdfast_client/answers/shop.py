"""Reservations, availability, products, stock and ledger rows, as the service answers them. Shapes only."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType

T = TypeVar("T")

ReservationStatus = Literal["ACTIVE", "COMPLETED", "CANCELLED", "EXPIRED"]
TransactionType = Literal["IN", "OUT", "ADJUSTMENT", "RETURN", "DAMAGE"]
StockState = Literal["IN_STOCK", "LOW_STOCK", "OUT_OF_STOCK"]
ProductState = Literal["active", "inactive"]


class Page(Struct, Generic[T], frozen=True):
    """Part of a list. `next_cursor`: where the next part begins; None at the end."""

    items: list[T]
    next_cursor: str | None


class Line(Struct, frozen=True):
    """One SKU and its units."""

    sku: str
    quantity: int


class Shortage(Struct, frozen=True):
    """A line that could not be held whole, in units."""

    sku: str
    requested: int
    available: int
    next_release_at: datetime | None = None
    """When the next hold on this SKU ends, if that is soon enough to be known."""


class Reservation(Struct, frozen=True):
    """What a customer holds, or held."""

    id: str
    status: ReservationStatus
    customer_id: str
    cart_id: str | None
    order_id: str | None
    lines: list[Line]
    expires_at: datetime
    expires_in_seconds: int
    """0 once it has ended."""
    created_at: datetime
    updated_at: datetime
    shortages: list[Shortage] | UnsetType = UNSET
    """Of a partial hold: what could not be held."""


class Availability(Struct, frozen=True):
    """What a reserve of this SKU would meet now, in units."""

    sku: str
    requested: int
    available: int
    is_available: bool
    next_release_at: datetime | None


class Product(Struct, frozen=True):
    """A product of the catalogue."""

    sku: str
    name: str
    category: str | None
    low_stock_threshold: int
    safety_stock: int
    status: ProductState
    created_at: datetime
    updated_at: datetime


class StockStatus(Struct, frozen=True):
    """A product's stock, live from the counters, in units."""

    sku: str
    name: str
    category: str | None
    on_hand: int
    reserved: int
    safety_stock: int
    available: int
    low_stock_threshold: int
    status: StockState
    as_of: datetime


class Level(Struct, frozen=True):
    """A SKU's stock as Postgres has it after the journal event `seq`, in units."""

    sku: str
    on_hand: int
    reserved: int
    partition: int
    seq: int
    updated_at: datetime


class Transaction(Struct, frozen=True):
    """A row of the ledger. `quantity` is signed; `new_stock` = `previous_stock` + `quantity`."""

    id: int
    sku: str
    transaction_type: TransactionType
    quantity: int
    previous_stock: int
    new_stock: int
    reference_type: str | None
    reference_id: str | None
    reason: str | None
    created_by: str
    created_at: datetime
    partition: int
    seq: int


class Order(Struct, frozen=True):
    """What an order event came to."""

    order_id: str
    status: Literal["COMPLETED", "CANCELLED"]
    reservations: list[Reservation]
    transactions: list[Transaction]


class DeadLetter(Struct, frozen=True):
    """An order event of the stream that could not be applied."""

    id: int
    stream: str
    stream_id: str
    order_id: str | None
    """None when the event could not be read."""
    body: str
    code: str
    """Problem code of the latest attempt."""
    detail: str
    attempts: int
    status: str
    """PENDING or RESOLVED."""
    created_at: datetime
    updated_at: datetime
    resolved_by: str | None
