"""Stock changes that wait for a second person, returns, alerts, as the service answers them. Shapes only."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from holdfast_client.answers.shop import Line, Transaction


class Approval(Struct, frozen=True):
    """A stock change that waits for a second person, or had one's decision."""

    id: str
    status: str
    """PENDING, APPROVED, REJECTED or EXPIRED."""
    kind: str
    """receive, remove, count, damage or return."""
    lines: list[Line]
    """As asked for; of a count, what was counted."""
    reference: str | None
    difference: int | None
    """Of a count: signed units that approving will move on_hand by."""
    units: int
    """Moved in all, whatever the sign."""
    reason: str
    requested_by: str
    requested_by_name: str
    requested_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_by_name: str | None
    decided_at: datetime | None
    decision_reason: str | None
    transactions: list[Transaction] | UnsetType = UNSET
    """Ledger rows that it made; left out of lists."""


class Pending(Struct, frozen=True):
    """As it is answered: nothing has moved."""

    approval: Approval


class Return(Struct, frozen=True):
    """The ledger rows that a return made."""

    transactions: list[Transaction]


class ExcessItem(Struct, frozen=True):
    """A line of a return that asks too much, in units."""

    sku: str
    requested: int
    returnable: int


class Alert(Struct, frozen=True):
    """A SKU that is or was low or out of stock."""

    id: int
    sku: str
    kind: str
    """LOW_STOCK or OUT_OF_STOCK."""
    status: str
    """PENDING, NOTIFIED or RESOLVED."""
    available: int
    """At `changed_at`, as `low_stock_threshold` is."""
    low_stock_threshold: int
    available_now: int | None
    """At this moment; None once it is resolved."""
    sell_out_seconds: int | None
    """At the present rate; None when nothing is being sold."""
    raised_at: datetime
    changed_at: datetime
    notified_at: datetime | None
    resolved_at: datetime | None
    resolved_by: str | None
    """`system` or the id of a key."""
