"""`holdfast reserve`: hold stock for a customer from the command line.

Owns what is typed and shown; what happens to the hold afterwards stands in reservations.py.
"""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.commands.arguments import Lines, read_lines
from runtime.commands.reservations import described
from runtime.commands.session import KeyOption, Session, service_command

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@service_command(app, "reserve")
def reserve(
    session: Session,
    lines: Lines,
    customer: Annotated[str, typer.Option("--customer", help="Whom it is held for.", show_default=False)],
    cart: Annotated[str | None, typer.Option("--cart", help="The customer's cart.")] = None,
    ttl: Annotated[
        int | None,
        typer.Option("--ttl", min=1, max=86_400, help="Seconds until it ends by itself.", show_default="1800"),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Hold as much as there is.")] = False,
    idempotency_key: KeyOption = None,
) -> None:
    """Hold stock for a customer: all lines or none. Needs a storefront or admin key.

    Example: `holdfast reserve MUG=2 TEAPOT --customer ann --ttl 600`
    """
    hold = session.client.reserve(
        read_lines(lines),
        customer_id=customer,
        cart_id=cart,
        ttl_s=ttl,
        allow_partial=partial,
        idempotency_key=session.key_for(idempotency_key),
    )
    session.output.one(hold, described(hold))
    session.tell_key()
