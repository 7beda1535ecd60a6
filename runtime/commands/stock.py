"""`holdfast stock`: what is on hand, held and free, live; and whether counters and ledger agree.

Owns what is typed and shown. Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from runtime.commands.arguments import Skus
from runtime.commands.output import Column, number, state
from runtime.commands.session import Session, WrongUse, service_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast_client import Level, StockStatus

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

BAR: Final = 16
"""Characters of the bar of what is held and free."""


@service_command(app, "stock", lists=True)
def stock(
    session: Session,
    skus: Skus = None,
    low: Annotated[bool, typer.Option("--low", help="What is running low, lowest first.")] = False,
    out: Annotated[bool, typer.Option("--out", help="What has run out.")] = False,
) -> None:
    """Show what is on hand, held and available: of the SKUs named, of what is low or out, else of every SKU.

    Named, low and out come live from the counters; the list of every SKU comes from the ledger, a moment behind.

    Example: `holdfast stock MUG TEAPOT`, `holdfast stock --low`
    """
    if sum((bool(skus), low, out)) > 1:
        raise WrongUse("give SKUs, --low or --out, one of them")
    client = session.client
    if low or out:
        found = (client.low_stock if low else client.out_of_stock)(page_size=session.page_size)
        session.output.rows(found, LIVE, limit=session.limit, empty="nothing is low" if low else "nothing is out")
    elif skus:
        session.output.rows(_named(session, skus), LIVE, limit=None, empty="")
    else:
        levels = client.list_levels(page_size=session.page_size)
        session.output.rows(levels, LEVELS, limit=session.limit, empty="no product has any stock yet")


def _named(session: Session, skus: list[str]) -> Iterator[StockStatus]:
    for sku in dict.fromkeys(skus):
        yield session.client.stock_status(sku)


def _bar(on_hand: int, reserved: int) -> Text:
    """Held and free units as parts of what is on hand."""
    held = 0 if on_hand == 0 else min(BAR, max(1 if reserved else 0, round(BAR * reserved / on_hand)))
    free = BAR - held if on_hand else 0
    return Text("█" * held, style="yellow") + Text("░" * free, style="green") + Text("·" * (BAR - held - free), "dim")


LIVE: list[Column[StockStatus]] = [
    Column("sku", lambda one: one.sku),
    Column("on hand", lambda one: number(one.on_hand), right=True),
    Column("held", lambda one: number(one.reserved), right=True),
    Column("available", lambda one: number(one.available), right=True),
    Column("status", lambda one: state(one.status)),
    Column("held/free", lambda one: _bar(one.on_hand, one.reserved), spare=True),
    Column("low below", lambda one: number(one.low_stock_threshold), right=True, spare=True),
    Column("safety", lambda one: number(one.safety_stock), right=True, spare=True),
    Column("name", lambda one: one.name, spare=True),
]
LEVELS: list[Column[Level]] = [
    Column("sku", lambda one: one.sku),
    Column("on hand", lambda one: number(one.on_hand), right=True),
    Column("held", lambda one: number(one.reserved), right=True),
    Column("held/free", lambda one: _bar(one.on_hand, one.reserved), spare=True),
]
