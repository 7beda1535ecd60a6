"""`holdfast reservations`: holds and sales found, looked at, extended, confirmed and released.

Owns what is typed and shown; new holds stand in reserve.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.commands.arguments import SkuFilter, read_lines
from runtime.commands.output import Cell, Column, age, moment, span, state
from runtime.commands.session import Session, WrongUse, YesOption, command_group, service_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast_client import Reservation
    from holdfast_client.answers.shop import Line

app = command_group("Find, look at, extend, confirm and release reservations.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the reservation.", show_default=False)]
State = Literal["ACTIVE", "COMPLETED", "CANCELLED", "EXPIRED"]


@service_command(app, "list", lists=True)
def list_reservations(
    session: Session,
    status: Annotated[State | None, typer.Option(help="Only those.", case_sensitive=False)] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Only of this customer.")] = None,
    sku: SkuFilter = None,
    order: Annotated[str | None, typer.Option("--order", help="Only of this order.")] = None,
) -> None:
    """List reservations, newest first, as the ledger has them: a moment behind the counters.

    Example: `holdfast reservations list --status ACTIVE --sku MUG`
    """
    found = session.client.list_reservations(
        status=status, customer_id=customer, sku=sku, order_id=order, page_size=session.page_size
    )
    columns: list[Column[Reservation]] = [
        Column("id", lambda one: one.id),
        Column("status", lambda one: state(one.status)),
        Column("customer", lambda one: one.customer_id),
        Column("lines", lambda one: in_words(one.lines)),
        Column("ends", _ends),
        Column("order", lambda one: one.order_id or "-", spare=True),
        Column("made", lambda one: moment(one.created_at), spare=True),
    ]
    session.output.rows(
        found, columns, limit=session.limit, empty="no reservation is like that, as far as the ledger knows"
    )


@service_command(app, "show")
def show_reservation(session: Session, reservation_id: Id) -> None:
    """Show one reservation, also one that ended long ago.

    Example: `holdfast reservations show 01999f4e5f7a4c0c9d0e8a5b01999f4e5f7a`
    """
    hold = session.client.get_reservation(reservation_id)
    session.output.one(hold, described(hold))


@service_command(app, "amend")
def amend_reservation(
    session: Session,
    reservation_id: Id,
    lines: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SKU[=UNITS]]...", help="The whole new set of lines.", show_default=False),
    ] = None,
    ttl: Annotated[
        int | None, typer.Option("--ttl", min=1, max=86_400, help="Seconds from now until it ends by itself.")
    ] = None,
) -> None:
    """Give a hold new lines, more time, or both. When the stock does not allow it, it stays as it was.

    Example: `holdfast reservations amend ID MUG=3 --ttl 900`
    """
    if not lines and ttl is None:
        raise WrongUse("give the new lines, such as MUG=3, or --ttl")
    hold = session.client.amend(reservation_id, read_lines(lines) if lines else None, ttl_s=ttl)
    session.output.one(hold, described(hold))


@service_command(app, "confirm")
def confirm_reservation(
    session: Session,
    reservation_id: Id,
    order: Annotated[str | None, typer.Option("--order", help="The order it was sold by.")] = None,
    durability: Annotated[
        Literal["journal", "fsync", "replicated", "ledger"] | None,
        typer.Option(help="What the sale must have survived before it is answered.", show_default="the service's"),
    ] = None,
) -> None:
    """Turn a hold into a sale: its units leave the stock. Again with the same order: the same answer.

    Example: `holdfast reservations confirm ID --order 4711`
    """
    hold = session.client.confirm(reservation_id, order, durability=durability)
    session.output.one(hold, described(hold))


@service_command(app, "release")
def release_reservations(
    session: Session,
    reservation_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of reservations.", show_default=False)
    ],
    yes: YesOption = False,
) -> None:
    """Give holds back: their units can be sold again at once. Asks first: a customer may be paying.

    Example: `holdfast reservations release ID --yes`
    """
    what = "this hold" if len(reservation_ids) == 1 else f"these {len(reservation_ids)} holds"
    session.agreed(f"Release {what}?", yes)
    released = [session.client.release(one) for one in reservation_ids]
    if len(released) == 1:
        session.output.one(released[0], described(released[0]))
        return
    columns: list[Column[Reservation]] = [
        Column("id", lambda one: one.id),
        Column("status", lambda one: state(one.status)),
        Column("lines", lambda one: in_words(one.lines)),
    ]
    session.output.rows(released, columns, limit=None, empty="")


def in_words(lines: Iterable[Line]) -> str:
    """Lines as they are typed."""
    return ", ".join(f"{line.sku}={line.quantity}" for line in lines)


def described(hold: Reservation) -> list[tuple[str, Cell | None]]:
    """A reservation in lines."""
    shown: list[tuple[str, Cell | None]] = [
        ("id", hold.id),
        ("status", state(hold.status)),
        ("customer", hold.customer_id),
        ("cart", hold.cart_id),
        ("order", hold.order_id),
        ("lines", in_words(hold.lines)),
        ("ends" if hold.status == "ACTIVE" else "would end", f"{moment(hold.expires_at)} ({_ends(hold)})"),
        ("made", moment(hold.created_at)),
        ("changed", moment(hold.updated_at)),
    ]
    if hold.status != "ACTIVE":
        shown[6] = ("ended", moment(hold.updated_at))
    if isinstance(hold.shortages, list):
        missing = (f"{one.sku}: {one.requested} asked for, {one.available} held" for one in hold.shortages)
        shown.append(("short", "; ".join(missing)))
    return shown


def _ends(hold: Reservation) -> str:
    if hold.status != "ACTIVE":
        return age(hold.updated_at)
    return f"in {span(hold.expires_in_seconds)}" if hold.expires_in_seconds else "due"
