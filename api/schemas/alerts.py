"""Answers of the alert routes, as structs. Owns shapes, no behaviour."""

from __future__ import annotations

from msgspec import Struct

from api.schemas.shop import Time
from persistence.queries.alerts import AlertKind, AlertStatus


class AlertView(Struct, frozen=True):
    """An alert. `available` and `low_stock_threshold` are those of `changed_at`; while the alert is open,
    `available_now` and `sell_out_seconds` (null: nothing is being sold) tell how things stand at this moment.
    """

    id: int
    sku: str
    kind: AlertKind
    status: AlertStatus
    available: int
    low_stock_threshold: int
    available_now: int | None
    sell_out_seconds: int | None
    raised_at: Time
    changed_at: Time
    notified_at: Time | None
    resolved_at: Time | None
    resolved_by: str | None
    """`system` or the id of an API key."""


class AlertList(Struct, frozen=True):
    """A page of alerts, newest first."""

    items: list[AlertView]
    next_cursor: str | None
