"""`holdfast alerts`: what is or was low or out of stock, and saying that somebody has dealt with it.

Owns what is typed and shown; when an alert is raised is the service's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.commands.arguments import SkuFilter
from runtime.commands.output import Cell, Column, age, moment, number, span, state
from runtime.commands.session import Session, command_group, service_command

if TYPE_CHECKING:
    from holdfast_client import Alert

app = command_group("List alerts of low and sold-out stock, and resolve them.")


@service_command(app, "list", lists=True)
def list_alerts(
    session: Session,
    status: Annotated[
        Literal["PENDING", "NOTIFIED", "RESOLVED"] | None, typer.Option(help="Only those.", case_sensitive=False)
    ] = None,
    sku: SkuFilter = None,
) -> None:
    """List alerts, newest first. PENDING: nobody was told yet; NOTIFIED: somebody was; RESOLVED: it is over.

    Example: `holdfast alerts list --status PENDING`
    """
    columns: list[Column[Alert]] = [
        Column("id", lambda one: str(one.id), right=True),
        Column("sku", lambda one: one.sku),
        Column("kind", lambda one: state(one.kind)),
        Column("status", lambda one: state(one.status)),
        Column("available now", lambda one: number(one.available_now), right=True),
        Column("low below", lambda one: number(one.low_stock_threshold), right=True, spare=True),
        Column("raised", lambda one: age(one.raised_at)),
        Column("sold out in", _sold_out, spare=True),
    ]
    found = session.client.list_alerts(status=status, sku=sku, page_size=session.page_size)
    session.output.rows(found, columns, limit=session.limit, empty="no alert is like that")


@service_command(app, "resolve")
def resolve_alert(
    session: Session,
    alert_id: Annotated[int, typer.Argument(metavar="ID", min=1, help="Number of the alert.", show_default=False)],
) -> None:
    """Say that somebody has dealt with it. No new one is raised before the SKU has recovered.

    Example: `holdfast alerts resolve 17`
    """
    resolved = session.client.resolve_alert(alert_id)
    session.output.one(resolved, described(resolved))


def described(alert: Alert) -> list[tuple[str, Cell | None]]:
    """An alert in lines."""
    return [
        ("alert", str(alert.id)),
        ("sku", alert.sku),
        ("kind", state(alert.kind)),
        ("status", state(alert.status)),
        ("available", f"{number(alert.available)} when it was raised, {number(alert.available_now)} now"),
        ("low below", number(alert.low_stock_threshold)),
        ("raised", moment(alert.raised_at)),
        ("resolved", f"{moment(alert.resolved_at)} by {alert.resolved_by}" if alert.resolved_at else None),
    ]


def _sold_out(alert: Alert) -> str:
    return "-" if alert.sell_out_seconds is None else span(alert.sell_out_seconds)
