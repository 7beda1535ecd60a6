"""Webhooks: who is told about which events, how that went, and doing it again.

Owns the forms; the rules are inventory/webhooks. A secret stands on the page that answers its making, once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, cast, get_args

from fastapi import APIRouter, Response

from api.audit import audit_target
from api.console.access import AdminForm, Administering, Visit
from api.console.forms import Form
from api.problems import invalid
from api.requests import check_filter
from inventory.events.kinds import EVENT_TYPES
from inventory.refusals import UnknownDelivery
from inventory.webhooks import subscriptions
from persistence.queries.api_keys import ApiKeys
from persistence.queries.webhook_deliveries import DeliveryStatus

router = APIRouter(prefix="/console/webhooks", include_in_schema=False)

PAGE: Final = 25
MAX_URL: Final = 2_000
EVENT: Final = "event:"
"""What the name of an event's box begins with: each has a name of its own."""
STATES: Final[tuple[str, ...]] = get_args(DeliveryStatus)
FAMILIES: Final = tuple(sorted({kind.partition(".")[0] for kind in EVENT_TYPES}))


@router.get("")
async def webhooks_page(visit: Administering) -> Response:
    """Every webhook, newest first, and the form for a new one."""
    query = Form(dict(visit.request.query_params))
    cursor = query.text("cursor", most=2_000) or None
    inventory = visit.services.inventory
    page = await subscriptions.list_webhooks(inventory, PAGE, cursor)
    return visit.page(
        "webhooks.html",
        "webhooks",
        "Webhooks",
        webhooks=page.items,
        names=await ApiKeys(inventory.database).names(one.created_by for one in page.items),
        families={family: sorted(one for one in EVENT_TYPES if one.startswith(f"{family}.")) for family in FAMILIES},
        cursor=cursor,
        next_cursor=page.next_cursor,
        now=datetime.now(UTC),
    )


@router.post("")
async def create(posted: AdminForm) -> Response:
    """Make a webhook; its page with the secret, which is shown this once."""
    url = posted.form.needed("url", most=MAX_URL)
    wanted = [name.removeprefix(EVENT) for name in posted.form.fields if name.startswith(EVENT)]
    if not wanted:
        raise invalid("choose at least one", "events")
    webhook, secret = await subscriptions.create_webhook(
        posted.services.inventory, url, wanted, posted.viewer.caller.id
    )
    audit_target(posted.request, webhook.id)
    return await _one(posted, webhook.id, secret=secret, status=201)


@router.get("/{webhook_id}")
async def webhook_page(webhook_id: str, visit: Administering) -> Response:
    """One webhook and the log of its deliveries, newest first."""
    return await _one(visit, _checked(webhook_id))


@router.post("/{webhook_id}/rotate-secret")
async def rotate(webhook_id: str, posted: AdminForm) -> Response:
    """A new secret, shown this once; the old one signs beside it for a day."""
    webhook, secret = await subscriptions.rotate_secret(posted.services.inventory, _checked(webhook_id))
    return await _one(posted, webhook.id, secret=secret)


@router.post("/{webhook_id}/test")
async def test(webhook_id: str, posted: AdminForm) -> Response:
    """Have a test event sent."""
    services = posted.services
    await subscriptions.send_test(services.inventory, services.jobs, _checked(webhook_id))
    return posted.go(f"/console/webhooks/{webhook_id}", "A test event is on its way; the log below tells how it went.")


@router.post("/{webhook_id}/enable")
async def enable(webhook_id: str, posted: AdminForm) -> Response:
    """Send again, what waited first."""
    services = posted.services
    await subscriptions.enable_webhook(services.inventory, services.jobs, _checked(webhook_id))
    return posted.go(f"/console/webhooks/{webhook_id}", "Enabled: what waited is being sent.")


@router.post("/{webhook_id}/disable")
async def disable(webhook_id: str, posted: AdminForm) -> Response:
    """Send nothing for now."""
    await subscriptions.disable_webhook(posted.services.inventory, _checked(webhook_id), posted.viewer.caller.id)
    return posted.go(f"/console/webhooks/{webhook_id}", "Disabled: nothing is sent until it is enabled.")


@router.post("/{webhook_id}/delete")
async def delete(webhook_id: str, posted: AdminForm) -> Response:
    """Nothing more is sent, not even what waits."""
    await subscriptions.delete_webhook(posted.services.inventory, _checked(webhook_id))
    return posted.go("/console/webhooks", "The webhook is deleted.")


@router.post("/{webhook_id}/deliveries/{delivery_id}/retry")
async def retry(webhook_id: str, delivery_id: str, posted: AdminForm) -> Response:
    """Send a delivery now, however it stands."""
    if not delivery_id.isascii() or not delivery_id.isdigit() or len(delivery_id) > 18:
        raise UnknownDelivery
    services = posted.services
    await subscriptions.send_again(services.inventory, services.jobs, _checked(webhook_id), int(delivery_id))
    return posted.go(f"/console/webhooks/{webhook_id}", "It is being sent again.")


async def _one(visit: Visit, webhook_id: str, *, secret: str = "", status: int = 200) -> Response:
    query = Form(dict(visit.request.query_params))
    state = query.one_of("status", ("ALL", *STATES)) if query.text("status") else "ALL"
    cursor = query.text("cursor", most=2_000) or None
    inventory = visit.services.inventory
    webhook = await subscriptions.get_webhook(inventory, webhook_id)
    wanted = None if state == "ALL" else cast("DeliveryStatus", state)
    page = await subscriptions.list_deliveries(inventory, webhook_id, wanted, PAGE, cursor)
    return visit.page(
        "webhook.html",
        "webhooks",
        "Webhook",
        status,
        webhook=webhook,
        secret=secret,
        deliveries=page.items,
        names=await ApiKeys(inventory.database).names([webhook.created_by]),
        state=state,
        states=STATES,
        cursor=cursor,
        next_cursor=page.next_cursor,
        now=datetime.now(UTC),
    )


def _checked(webhook_id: str) -> str:
    return check_filter(webhook_id, "webhook_id") or ""
