"""/admin/webhooks: who is told about which events, and the log of it. A secret is shown once, when it is made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import UNSET, UnsetType

from api.audit import audit_target
from api.hot.decode import check_text
from api.openapi import operation
from api.requests import Admin, Cursor, Limit, ServicesDep, json_answer, read_json
from api.schemas.webhooks import DeliveryList, DeliveryView, WebhookBody, WebhookList, WebhookView
from api.views import timestamp_of
from inventory.webhooks import subscriptions
from persistence.queries.webhook_deliveries import Delivery, DeliveryStatus
from persistence.queries.webhooks import Webhook

router = APIRouter(prefix="/admin/webhooks", tags=["webhooks"])

_BODY: Final = msgspec.json.Decoder(WebhookBody)

DeliveryId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.post(
    "",
    summary="Make a webhook",
    **operation({201: WebhookView}, "webhook-url-refused", "webhook-limit", body=WebhookBody),
)
async def create_webhook(request: Request, services: ServicesDep, caller: Admin) -> Response:
    """It is told what happens from now on. The secret that signs stands in this answer and is never shown again."""
    body = await read_json(request, _BODY)
    check_text(body.url, "$.url")
    webhook, secret = await subscriptions.create_webhook(services.inventory, body.url, body.events, caller.id)
    audit_target(request, webhook.id)
    return json_answer(_view(webhook, secret), 201)


@router.get("", summary="List webhooks", **operation({200: WebhookList}, "invalid-cursor"))
async def list_webhooks(services: ServicesDep, caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Every webhook, newest first, without secrets."""
    page = await subscriptions.list_webhooks(services.inventory, limit, cursor)
    return json_answer(WebhookList([_view(webhook) for webhook in page.items], page.next_cursor))


@router.get("/{webhook_id}", summary="One webhook", **operation({200: WebhookView}, "unknown-webhook"))
async def get_webhook(webhook_id: str, services: ServicesDep, caller: Admin) -> Response:
    """Whether it is active, since when it fails, and why it was disabled."""
    check_text(webhook_id, "webhook_id")
    return json_answer(_view(await subscriptions.get_webhook(services.inventory, webhook_id)))


@router.delete("/{webhook_id}", summary="Delete a webhook", **operation({204: None}, "unknown-webhook"))
async def delete_webhook(webhook_id: str, services: ServicesDep, caller: Admin) -> Response:
    """Nothing more is sent, not even what already waits; its secrets are gone at once."""
    check_text(webhook_id, "webhook_id")
    await subscriptions.delete_webhook(services.inventory, webhook_id)
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/test",
    summary="Send a test event",
    **operation({202: DeliveryView}, "unknown-webhook", "webhook-disabled"),
)
async def test_webhook(webhook_id: str, services: ServicesDep, caller: Admin) -> Response:
    """An event `webhook.test` is on its way; the delivery log tells how it went."""
    check_text(webhook_id, "webhook_id")
    delivery = await subscriptions.send_test(services.inventory, services.jobs, webhook_id)
    return json_answer(_delivery_view(delivery), 202)


@router.post(
    "/{webhook_id}/rotate-secret",
    summary="Replace the secret",
    **operation({200: WebhookView}, "unknown-webhook"),
)
async def rotate_secret(webhook_id: str, services: ServicesDep, caller: Admin) -> Response:
    """The new secret, shown once. For 24 hours every message is signed with the old one as well."""
    check_text(webhook_id, "webhook_id")
    webhook, secret = await subscriptions.rotate_secret(services.inventory, webhook_id)
    return json_answer(_view(webhook, secret))


@router.post("/{webhook_id}/enable", summary="Enable a webhook", **operation({200: WebhookView}, "unknown-webhook"))
async def enable_webhook(webhook_id: str, services: ServicesDep, caller: Admin) -> Response:
    """What waited is sent, and what happens from now on; what happened while it was disabled is not. Ends a pause."""
    check_text(webhook_id, "webhook_id")
    return json_answer(_view(await subscriptions.enable_webhook(services.inventory, services.jobs, webhook_id)))


@router.post("/{webhook_id}/disable", summary="Disable a webhook", **operation({200: WebhookView}, "unknown-webhook"))
async def disable_webhook(webhook_id: str, services: ServicesDep, caller: Admin) -> Response:
    """Nothing is sent until it is enabled; what waits goes on waiting, what happens meanwhile is not for it."""
    check_text(webhook_id, "webhook_id")
    return json_answer(_view(await subscriptions.disable_webhook(services.inventory, webhook_id, caller.id)))


@router.get(
    "/{webhook_id}/deliveries",
    summary="The delivery log",
    **operation({200: DeliveryList}, "unknown-webhook", "invalid-cursor"),
)
async def list_deliveries(  # noqa: PLR0917
    webhook_id: str,
    services: ServicesDep,
    caller: Admin,
    status: Annotated[DeliveryStatus | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """What was sent, is to be sent or could not be, newest first; kept for HOLDFAST_WEBHOOK_LOG_DAYS."""
    check_text(webhook_id, "webhook_id")
    page = await subscriptions.list_deliveries(services.inventory, webhook_id, status, limit, cursor)
    return json_answer(DeliveryList([_delivery_view(one) for one in page.items], page.next_cursor))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/retry",
    summary="Send a delivery again",
    **operation({202: DeliveryView}, "unknown-webhook", "unknown-delivery", "webhook-disabled"),
)
async def retry_delivery(webhook_id: str, delivery_id: DeliveryId, services: ServicesDep, caller: Admin) -> Response:
    """At once and however it stands, with all of its attempts before it; `webhook-id` stays the same."""
    check_text(webhook_id, "webhook_id")
    delivery = await subscriptions.send_again(services.inventory, services.jobs, webhook_id, delivery_id)
    return json_answer(_delivery_view(delivery), 202)


def _view(webhook: Webhook, secret: str | UnsetType = UNSET) -> WebhookView:
    now = datetime.now(UTC)
    return WebhookView(
        id=webhook.id,
        url=webhook.url,
        events=list(webhook.events),
        status=webhook.status,
        reason=webhook.reason or None,
        created_by=webhook.created_by,
        created_at=timestamp_of(webhook.created_at),
        disabled_at=_time(webhook.disabled_at),
        failing_since=_time(webhook.failing_since),
        failures=webhook.failures,
        resumes_at=_time_to_come(webhook.resume_at, now),
        last_delivered_at=_time(webhook.last_delivered_at),
        previous_secret_until=_time_to_come(webhook.previous_secret_until, now),
        secret=secret,
    )


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        type=delivery.type,
        status=delivery.status,
        attempts=delivery.attempts,
        next_attempt_at=_time(delivery.next_attempt_at),
        created_at=timestamp_of(delivery.created_at),
        last_attempt_at=_time(delivery.last_attempt_at),
        delivered_at=_time(delivery.delivered_at),
        last_status=delivery.last_status,
        last_error=delivery.last_error,
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp_of(moment)


def _time_to_come(moment: datetime | None, now: datetime) -> str | None:
    return None if moment is None or moment <= now else timestamp_of(moment)
