"""Bodies and answers of the cold routes, as structs: what is decoded, what is encoded, what OpenAPI shows.

Owns shapes and bounds, no behaviour. The hot path's bodies stand in hot/decode.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from api.auth import Role
from api.hot.decode import Quantity, Sku, Text
from engine import limits
from inventory.order_events import OrderCancelled, OrderCreated

Time = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2026-03-01T12:00:00.000Z"])]
Count = Annotated[int, Meta(ge=0, le=limits.MAX_QUANTITY, description="units")]
Units = Annotated[int, Meta(ge=0, le=limits.MAX_ON_HAND, description="units")]
Name = Annotated[str, Meta(min_length=1, max_length=255, examples=["Red mug"])]
Reason = Annotated[
    str,
    Meta(min_length=3, max_length=500, description="3-500 characters, kept in the ledger", examples=["delivery 4711"]),
]

ReservationState = Literal["ACTIVE", "COMPLETED", "CANCELLED", "EXPIRED"]
TransactionKind = Literal["IN", "OUT", "ADJUSTMENT", "RETURN", "DAMAGE"]
ProductState = Literal["active", "inactive"]
StockState = Literal["IN_STOCK", "LOW_STOCK", "OUT_OF_STOCK"]


class Line(Struct, frozen=True):
    """One SKU and its units."""

    sku: Sku
    quantity: Quantity


class ShortageView(Struct, frozen=True):
    """A line that could not be held whole."""

    sku: Sku
    requested: int
    available: int
    next_release_at: Time | None
    """When the next hold on this SKU ends, if that is soon enough to be known."""


class ReservationView(Struct, frozen=True):
    """A reservation. `expires_in_seconds` is 0 once it has ended."""

    id: str
    status: ReservationState
    customer_id: str
    cart_id: str | None
    order_id: str | None
    lines: list[Line]
    expires_at: Time
    expires_in_seconds: int
    created_at: Time
    updated_at: Time
    shortages: list[ShortageView] | UnsetType = UNSET
    """With `allow_partial`: what could not be held."""


class AvailabilityView(Struct, frozen=True):
    """What a reserve of this SKU would meet now."""

    sku: Sku
    requested: int
    available: int
    is_available: bool
    next_release_at: Time | None


class AvailabilityList(Struct, frozen=True):
    """Availability of several SKUs, in the order asked for."""

    items: list[AvailabilityView]
    next_cursor: str | None


class ProblemView(Struct, frozen=True):
    """An error (RFC 9457). `code` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class BatchResult(Struct, frozen=True, omit_defaults=True):
    """One item's answer: 201 with `reservation`, anything else with `problem`."""

    status: int
    reservation: ReservationView | None = None
    problem: ProblemView | None = None
    replayed: bool = False


class BatchView(Struct, frozen=True):
    """Answers in the order of the reservations asked for."""

    results: list[BatchResult]


class ProductBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A product's settings. What is left out keeps its value, or gets its default when the product is new."""

    name: Name
    category: Name | UnsetType | None = UNSET
    low_stock_threshold: Count | UnsetType = UNSET
    safety_stock: Count | UnsetType = UNSET
    status: ProductState | UnsetType = UNSET
    initial_stock: Units | UnsetType = UNSET
    """Counts only when the product is made; then it becomes an IN row of the ledger."""


class ProductView(Struct, frozen=True):
    """A product of the catalogue."""

    sku: str
    name: str
    category: str | None
    low_stock_threshold: int
    safety_stock: int
    status: ProductState
    created_at: Time
    updated_at: Time


class ProductList(Struct, frozen=True):
    """A page of products, by SKU."""

    items: list[ProductView]
    next_cursor: str | None


class LevelView(Struct, frozen=True):
    """A SKU's stock as Postgres has it after the journal event `seq`, in units."""

    sku: str
    on_hand: int
    reserved: int
    partition: int
    seq: int
    updated_at: Time


class LevelList(Struct, frozen=True):
    """A page of levels, by SKU."""

    items: list[LevelView]
    next_cursor: str | None


class StockStatusView(Struct, frozen=True):
    """A product's stock, live from the counters."""

    sku: str
    name: str
    category: str | None
    on_hand: int
    reserved: int
    safety_stock: int
    available: int
    low_stock_threshold: int
    status: StockState
    as_of: Time


class StockStatusList(Struct, frozen=True):
    """A page of products by their stock, lowest first."""

    items: list[StockStatusView]
    next_cursor: str | None


class AdjustBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of stock: `receive` adds, `remove` takes, `count` sets what was counted on the shelf."""

    sku: Sku
    kind: Literal["receive", "remove", "count"]
    quantity: Units
    reason: Reason
    reference: Text | UnsetType | None = UNSET
    """A delivery note or the like; becomes the row's reference_id."""


class DamageBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Units that can no longer be sold."""

    sku: Sku
    quantity: Quantity
    reason: Reason


class ReturnItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One SKU that came back."""

    sku: Sku
    quantity: Quantity


class ReturnBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What came back from an order, put on the shelf again."""

    order_id: Text
    items: Annotated[list[ReturnItem], Meta(min_length=1, max_length=limits.MAX_LINES)]
    reason: Reason


class TransactionView(Struct, frozen=True):
    """A row of the ledger. `quantity` is signed; `new_stock` = `previous_stock` + `quantity`."""

    id: int
    sku: str
    transaction_type: TransactionKind
    quantity: int
    previous_stock: int
    new_stock: int
    reference_type: str | None
    reference_id: str | None
    reason: str | None
    created_by: str
    created_at: Time
    partition: int
    seq: int


class TransactionList(Struct, frozen=True):
    """A page of the ledger, newest first."""

    items: list[TransactionView]
    next_cursor: str | None


class ReservationList(Struct, frozen=True):
    """A page of reservations, newest first, as the ledger has them (a moment behind the counters)."""

    items: list[ReservationView]
    next_cursor: str | None


class ReturnView(Struct, frozen=True):
    """The rows that a return made."""

    transactions: list[TransactionView]


OrderBody = OrderCreated | OrderCancelled


class OrderView(Struct, frozen=True):
    """What an order event came to."""

    order_id: str
    status: Literal["COMPLETED", "CANCELLED"]
    reservations: list[ReservationView]
    transactions: list[TransactionView]


class KeyBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A new API key."""

    name: Name
    role: Role


class KeyView(Struct, frozen=True):
    """An API key, without the key."""

    id: str
    name: str
    role: Role
    created_at: Time
    revoked_at: Time | None


class NewKeyView(Struct, frozen=True):
    """A new API key; this is the only time it is shown."""

    id: str
    name: str
    role: Role
    key: str


class KeyList(Struct, frozen=True):
    """All API keys."""

    items: list[KeyView]
    next_cursor: str | None


class HealthView(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"]


class ReadinessView(Struct, frozen=True):
    """Whether requests can be served, and what stands in the way of it."""

    status: Literal["ready", "not-ready"]
    redis: str
    postgres: str
    flusher: str
    epoch: int
    journal_lag_events: int | None
    configuration: str
    """Of Redis: as a start would accept it."""
    worker: str
    """This part and those below keep nothing from being served; somebody should look at them all the same."""
    sweeper: str
    ledger: str
    back_pressure: str
    memory: str
    replicas: str
    obstacles: list[str]
    """Parts that keep requests from being served; empty when ready."""
    degraded: list[str]
    """Parts that are not `ok` although requests are served."""
