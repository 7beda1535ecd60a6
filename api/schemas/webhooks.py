"""Bodies and answers of the webhook routes, as structs. Owns shapes and bounds, no behaviour."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from api.schemas.shop import Time
from persistence.queries.webhook_deliveries import DeliveryStatus

WebhookState = Literal["active", "disabled"]

Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2000,
        description="https, without user, password or fragment; its name leads to public addresses only",
        examples=["https://shop.example.com/hooks/stock"],
    ),
]
Pattern = Annotated[
    str,
    Meta(min_length=1, max_length=64, description="an event type, a family such as `stock.*`, or `*`", examples=["*"]),
]


class WebhookBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A new webhook: where to, and about what."""

    url: Url
    events: Annotated[list[Pattern], Meta(min_length=1, max_length=50, examples=[["stock.*", "reservation.confirmed"]])]


class WebhookView(Struct, frozen=True, kw_only=True):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    status: WebhookState
    reason: str | None
    """Why it is disabled."""
    created_by: str
    created_at: Time
    disabled_at: Time | None
    failing_since: Time | None
    """First failed attempt since the last delivery; null when all is well."""
    failures: int
    """Failed attempts since the last delivery."""
    resumes_at: Time | None
    """Nothing is sent before: too many attempts failed in a row."""
    last_delivered_at: Time | None
    previous_secret_until: Time | None
    """Until when the secret before the present one signs as well."""
    secret: str | UnsetType = UNSET
    """Only in the answer to its making and to a rotation: it is never shown again."""


class WebhookList(Struct, frozen=True):
    """A page of webhooks, newest first."""

    items: list[WebhookView]
    next_cursor: str | None


class DeliveryView(Struct, frozen=True, kw_only=True):
    """One event for one webhook, and how its delivery stands."""

    id: int
    webhook_id: str
    event_id: str
    """The `webhook-id` header of every attempt."""
    type: str
    status: DeliveryStatus
    attempts: int
    """Since it was made, or begun anew."""
    next_attempt_at: Time | None
    created_at: Time
    last_attempt_at: Time | None
    delivered_at: Time | None
    last_status: int | None
    """HTTP status of the last answer."""
    last_error: str | None


class DeliveryList(Struct, frozen=True):
    """A page of the delivery log, newest first."""

    items: list[DeliveryView]
    next_cursor: str | None
