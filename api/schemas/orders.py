"""Order events that were set aside, as the API shows them. Shapes only."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from api.schemas.shop import Time

DeadLetterState = Literal["PENDING", "RESOLVED"]


class DeadLetterView(Struct, frozen=True):
    """An order event of the stream that could not be applied."""

    id: int
    stream: str
    stream_id: str
    """Of the entry, as Redis gave it."""
    order_id: str | None
    """null when the event could not be read."""
    body: str
    """The event as JSON text, or whatever stood in its place."""
    code: str
    """Problem code of the latest attempt, as POST /inventory/orders would answer it."""
    detail: str
    attempts: int
    status: DeadLetterState
    created_at: Time
    updated_at: Time
    resolved_by: str | None


class DeadLetterList(Struct, frozen=True):
    """A page of order events that were set aside, newest first."""

    items: list[DeadLetterView]
    next_cursor: str | None
