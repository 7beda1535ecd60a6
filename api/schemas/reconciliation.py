"""What the reconciliation endpoint answers, as structs: shapes only."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from api.schemas.shop import Time
from inventory.reconciliation.findings import Counter


class DriftView(Struct, frozen=True):
    """One difference. `expected` is what ledger and journal say."""

    sku: str
    """Empty where it is not about one SKU."""
    counter: Counter
    expected: Annotated[int, Meta(description="units; for `deadline` Unix ms, for `journal` an event")]
    actual: int
    reservation_id: str | None
    detail: str


class CheckView(Struct, frozen=True):
    """One statement that must be true."""

    invariant: Annotated[str, Meta(description="its number in the design", examples=["3"])]
    statement: str
    looked_at: int
    differences: int


class ReconciliationView(Struct, frozen=True):
    """Counters, live holds, journal and ledger against each other, at one event."""

    status: Literal["ok", "drift"]
    checked_skus: int
    checked_holds: int
    drift: list[DriftView]
    """At most 1,000 a check."""
    drift_found: int
    checks: list[CheckView]
    journal_lag_events: Annotated[int, Meta(ge=0, description="events that were not in the ledger when it began")]
    epoch: int
    seq: Annotated[int, Meta(description="the last event that was looked at")]
    as_of: Time
    took_ms: int
