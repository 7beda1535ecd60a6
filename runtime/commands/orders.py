"""`holdfast orders`: an order put back, and order events that could not be applied, looked at and tried again.

Owns what is typed and shown; what an order sold is what the ledger says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.commands.output import Cell, Column, age, number, state
from runtime.commands.session import Session, YesOption, command_group, service_command

if TYPE_CHECKING:
    from holdfast_client import DeadLetter, Order

app = command_group("Cancel an order; look at order events that could not be applied, and try them again.")


@service_command(app, "cancel")
def cancel_order(
    session: Session,
    order_id: Annotated[str, typer.Argument(metavar="ORDER", help="Id of the order.", show_default=False)],
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; kept for good.")] = None,
    yes: YesOption = False,
) -> None:
    """Put back what an order took and has not given back yet. Needs a storefront or admin key. Again: the same.

    Example: `holdfast orders cancel 4711 --reason "paid twice"`
    """
    session.agreed(f"Cancel order {order_id} and put its units back?", yes)
    order = session.client.order_cancelled(order_id, reason)
    session.output.one(order, _described(order))


@service_command(app, "dead-letters", lists=True)
def list_dead_letters(
    session: Session,
    status: Annotated[
        Literal["PENDING", "RESOLVED"] | None, typer.Option(help="Only those.", case_sensitive=False)
    ] = None,
) -> None:
    """List order events of the stream that could not be applied, newest first.

    Example: `holdfast orders dead-letters --status PENDING`
    """
    columns: list[Column[DeadLetter]] = [
        Column("id", lambda one: str(one.id), right=True),
        Column("order", lambda one: one.order_id or "-"),
        Column("status", lambda one: state(one.status)),
        Column("problem", lambda one: one.code),
        Column("attempts", lambda one: number(one.attempts), right=True),
        Column("made", lambda one: age(one.created_at)),
        Column("detail", lambda one: one.detail, spare=True),
    ]
    found = session.client.list_dead_letters(status=status, page_size=session.page_size)
    session.output.rows(found, columns, limit=session.limit, empty="every order event was applied")


@service_command(app, "retry")
def retry_dead_letter(
    session: Session,
    dead_letter_id: Annotated[
        int, typer.Argument(metavar="ID", min=1, help="Number of the dead letter.", show_default=False)
    ],
) -> None:
    """Apply an order event that was set aside.

    Example: `holdfast orders retry 3`
    """
    order = session.client.retry_dead_letter(dead_letter_id)
    session.output.one(order, _described(order))


def _described(order: Order) -> list[tuple[str, Cell | None]]:
    rows = (f"{row.sku}: {row.quantity:+,}" for row in order.transactions)
    return [
        ("order", order.order_id),
        ("status", state(order.status)),
        ("reservations", ", ".join(one.id for one in order.reservations)),
        ("movements", "; ".join(rows)),
    ]
