"""`holdfast webhooks`: who is told about which events; tested, paused, and their deliveries looked at and sent again.

Owns what is typed and shown. A secret is printed once, when the service gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.commands.output import Cell, Column, age, moment, number, state
from runtime.commands.session import Session, YesOption, command_group, service_command

if TYPE_CHECKING:
    from holdfast_client import Delivery, Webhook

app = command_group("Make, test, pause and delete webhooks; look at their deliveries. Needs an admin key.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook.", show_default=False)]


@service_command(app, "list", lists=True)
def list_webhooks(session: Session) -> None:
    """List webhooks, newest first.

    Example: `holdfast webhooks list`
    """
    columns: list[Column[Webhook]] = [
        Column("id", lambda one: one.id),
        Column("status", lambda one: state(one.status)),
        Column("url", lambda one: one.url),
        Column("events", lambda one: ", ".join(one.events)),
        Column("failures", lambda one: number(one.failures), right=True, spare=True),
        Column("last delivered", lambda one: age(one.last_delivered_at), spare=True),
    ]
    found = session.client.list_webhooks(page_size=session.page_size)
    session.output.rows(found, columns, limit=session.limit, empty="no webhooks yet; `holdfast webhooks create URL`")


@service_command(app, "create")
def create_webhook(
    session: Session,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="https address to post to.", show_default=False)],
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event", "-e", help="An event type, a family such as `stock.*`; again for more.", show_default="*"
        ),
    ] = None,
) -> None:
    """Make a webhook and print the secret that signs its messages. It is shown this once.

    Example: `holdfast webhooks create https://shop.example.com/hooks --event "stock.*"`
    """
    made = session.client.create_webhook(address, events or ["*"])
    session.output.one(made, described(made))


@service_command(app, "show")
def show_webhook(session: Session, webhook_id: Id) -> None:
    """Show one webhook: whether it is active, since when it fails, why it was disabled.

    Example: `holdfast webhooks show wh_0123456789abcdef`
    """
    found = session.client.get_webhook(webhook_id)
    session.output.one(found, described(found))


@service_command(app, "delete")
def delete_webhook(session: Session, webhook_id: Id, yes: YesOption = False) -> None:
    """Delete a webhook. Nothing more is sent, not even what already waits. Asks first.

    Example: `holdfast webhooks delete wh_0123456789abcdef --yes`
    """
    session.agreed(f"Delete {webhook_id}?", yes)
    session.client.delete_webhook(webhook_id)
    session.output.one({"id": webhook_id, "deleted": True}, [("id", webhook_id), ("status", "deleted")])


@service_command(app, "test")
def test_webhook(session: Session, webhook_id: Id) -> None:
    """Send a test event. How it went stands in `holdfast webhooks deliveries`.

    Example: `holdfast webhooks test wh_0123456789abcdef`
    """
    _delivery(session, session.client.test_webhook(webhook_id))


@service_command(app, "enable")
def enable_webhook(session: Session, webhook_id: Id) -> None:
    """Send again: what waited, and what happens from now on.

    Example: `holdfast webhooks enable wh_0123456789abcdef`
    """
    found = session.client.enable_webhook(webhook_id)
    session.output.one(found, described(found))


@service_command(app, "disable")
def disable_webhook(session: Session, webhook_id: Id) -> None:
    """Send nothing until it is enabled again. What happens meanwhile is not for it.

    Example: `holdfast webhooks disable wh_0123456789abcdef`
    """
    found = session.client.disable_webhook(webhook_id)
    session.output.one(found, described(found))


@service_command(app, "rotate-secret")
def rotate_secret(session: Session, webhook_id: Id, yes: YesOption = False) -> None:
    """Replace the secret and print the new one, once. For 24 hours the old one signs as well. Asks first.

    Example: `holdfast webhooks rotate-secret wh_0123456789abcdef`
    """
    session.agreed(f"Replace the secret of {webhook_id}?", yes)
    found = session.client.rotate_webhook_secret(webhook_id)
    session.output.one(found, described(found))


@service_command(app, "deliveries", lists=True)
def list_deliveries(
    session: Session,
    webhook_id: Id,
    status: Annotated[
        Literal["PENDING", "DELIVERED", "FAILED", "DISCARDED"] | None,
        typer.Option(help="Only those.", case_sensitive=False),
    ] = None,
) -> None:
    """List what was sent, is to be sent or could not be, newest first.

    Example: `holdfast webhooks deliveries wh_0123456789abcdef --status FAILED`
    """
    columns: list[Column[Delivery]] = [
        Column("id", lambda one: str(one.id), right=True),
        Column("event", lambda one: one.type),
        Column("status", lambda one: state(one.status)),
        Column("attempts", lambda one: number(one.attempts), right=True),
        Column("answer", lambda one: "-" if one.last_status is None else str(one.last_status), right=True),
        Column("made", lambda one: age(one.created_at)),
        Column("next", lambda one: age(one.next_attempt_at), spare=True),
        Column("error", lambda one: one.last_error or "-", spare=True),
    ]
    found = session.client.list_deliveries(webhook_id, status=status, page_size=session.page_size)
    session.output.rows(found, columns, limit=session.limit, empty="nothing was sent yet")


@service_command(app, "retry")
def retry_delivery(
    session: Session,
    webhook_id: Id,
    delivery_id: Annotated[
        int, typer.Argument(metavar="DELIVERY", min=1, help="Number of the delivery.", show_default=False)
    ],
) -> None:
    """Send a delivery again, however it stands.

    Example: `holdfast webhooks retry wh_0123456789abcdef 4711`
    """
    _delivery(session, session.client.retry_delivery(webhook_id, delivery_id))


def _delivery(session: Session, delivery: Delivery) -> None:
    shown: list[tuple[str, Cell | None]] = [
        ("delivery", str(delivery.id)),
        ("webhook", delivery.webhook_id),
        ("event", delivery.type),
        ("status", state(delivery.status)),
    ]
    session.output.one(delivery, shown)


def described(webhook: Webhook) -> list[tuple[str, Cell | None]]:
    """A webhook in lines; with its secret when the service gave it just now."""
    shown: list[tuple[str, Cell | None]] = [
        ("id", webhook.id),
        ("url", webhook.url),
        ("events", ", ".join(webhook.events)),
        ("status", state(webhook.status)),
        ("because", webhook.reason),
        ("made", moment(webhook.created_at)),
        ("failures", number(webhook.failures)),
        ("failing since", moment(webhook.failing_since)),
        ("last delivered", age(webhook.last_delivered_at)),
    ]
    if isinstance(webhook.secret, str):
        shown.append(("secret", f"{webhook.secret} (shown this once)"))
    return shown
