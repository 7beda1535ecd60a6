"""What happens to the stock, as typed events: the same from the event stream and from webhooks.

Owns the shapes; never how an event travels (event_stream.py, signatures.py). A type that this version does not know has
its `data` as a plain dict.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from holdfast_client.answers.shop import Line


class Movement(Struct, frozen=True):
    """One SKU in an event: signed units, and the balances after it."""

    sku: str
    quantity: int
    on_hand: int
    reserved: int


class ReservationCreated(Struct, frozen=True):
    """Stock is held."""

    id: str
    customer_id: str
    cart_id: str | None
    lines: list[Movement]
    expires_at: datetime
    actor: str


class ReservationAmended(Struct, frozen=True):
    """A hold has new lines (0 for a SKU that was let go) or more time."""

    id: str
    lines: list[Movement]
    expires_at: datetime
    actor: str


class ReservationConfirmed(Struct, frozen=True):
    """A hold became a sale. `late`: it had expired, and the stock was taken again."""

    id: str
    order_id: str | None
    lines: list[Movement]
    late: bool
    actor: str


class ReservationReleased(Struct, frozen=True):
    """Somebody gave a hold back."""

    id: str
    lines: list[Movement]
    actor: str


class ReservationExpired(Struct, frozen=True):
    """A hold's time was over."""

    id: str
    lines: list[Movement]


class StockAdjusted(Struct, frozen=True):
    """Units came, went or were counted. `id`: None for a product's opening stock."""

    id: str | None
    transaction_type: str
    reason: str
    reference_type: str | None
    reference_id: str | None
    lines: list[Movement]
    actor: str


class ProductChanged(Struct, frozen=True):
    """A product was made or its settings changed."""

    sku: str
    safety_stock: int
    low_stock_threshold: int
    active: bool
    created: bool
    lines: list[Movement]
    actor: str


class StockLevelNews(Struct, frozen=True):
    """A SKU became low (`stock.low`), out of stock (`stock.out`) or neither (`stock.back`)."""

    alert_id: int
    sku: str
    state: str
    available: int
    low_stock_threshold: int
    sell_out_seconds: int | None


class ApprovalNews(Struct, frozen=True):
    """A change waits for a second person (`approval.requested`), or had the decision (`approval.decided`)."""

    id: str
    status: str
    kind: str
    lines: list[Line]
    """The first of them; `line_count` counts them all."""
    line_count: int
    reference: str | None
    units: int
    reason: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None


class ImportApplied(Struct, frozen=True):
    """A bulk import was applied."""

    id: str
    mode: str
    file_name: str
    transactions: int
    reason: str
    created_by: str
    applied_by: str


class WebhookTest(Struct, frozen=True):
    """Somebody wants to see whether a webhook works; nothing has happened to the stock."""

    webhook_id: str
    message: str


class JournalUnreadable(Struct, frozen=True):
    """Something stood here that the ledger had to set aside."""

    reason: str


DATA: Final[dict[str, type[Struct]]] = {
    "reservation.created": ReservationCreated,
    "reservation.amended": ReservationAmended,
    "reservation.confirmed": ReservationConfirmed,
    "reservation.released": ReservationReleased,
    "reservation.expired": ReservationExpired,
    "stock.adjusted": StockAdjusted,
    "product.changed": ProductChanged,
    "stock.low": StockLevelNews,
    "stock.out": StockLevelNews,
    "stock.back": StockLevelNews,
    "approval.requested": ApprovalNews,
    "approval.decided": ApprovalNews,
    "import.applied": ImportApplied,
    "webhook.test": WebhookTest,
    "journal.unreadable": JournalUnreadable,
}
"""Type of an event -> what its `data` is."""


class Event(Struct, frozen=True):
    """One event. Within a partition (epoch, seq) says what came first; they are None for a webhook's test event."""

    id: str
    type: str
    at: datetime
    data: Any
    """One of the structs above, by `type`; a dict for a type that this version does not know."""
    partition: int | None = None
    epoch: int | None = None
    seq: int | None = None


class _Document(Struct, frozen=True):
    id: str
    type: str
    data: Raw
    at: datetime | None = None
    timestamp: datetime | None = None
    """`at`, as webhooks call it."""
    partition: int | None = None
    epoch: int | None = None
    seq: int | None = None


_decode: Final = msgspec.json.Decoder(_Document).decode


def read_event(body: bytes) -> Event:
    """The event in a JSON document of the stream or of a webhook. Raises ValueError for anything else."""
    document = _decode(body)
    at = document.at or document.timestamp
    if at is None:
        raise ValueError("an event without its time")
    data: Any
    try:
        data = msgspec.json.decode(document.data, type=DATA.get(document.type, dict[str, Any]))
    except msgspec.ValidationError:
        # A later service may have changed a shape; its event is better told as it is than lost.
        data = msgspec.json.decode(document.data)
    return Event(document.id, document.type, at, data, document.partition, document.epoch, document.seq)
