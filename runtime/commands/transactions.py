"""`holdfast transactions`: the ledger, filtered, newest first.

Owns what is typed and shown. The ledger itself is never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from runtime.commands.arguments import complete_sku, read_moment
from runtime.commands.output import Cell, Column, moment, number
from runtime.commands.session import Session, service_command

if TYPE_CHECKING:
    from holdfast_client import Transaction

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@service_command(app, "transactions", lists=True)
def transactions(
    session: Session,
    sku: Annotated[
        str | None,
        typer.Argument(metavar="[SKU]", help="Only of this SKU.", show_default=False, autocompletion=complete_sku),
    ] = None,
    kind: Annotated[
        Literal["IN", "OUT", "ADJUSTMENT", "RETURN", "DAMAGE"] | None,
        typer.Option("--type", help="Only those.", case_sensitive=False),
    ] = None,
    reference_type: Annotated[str | None, typer.Option(help="Only of this kind of reference, such as Order.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Only of this order, delivery note ...")] = None,
    created_by: Annotated[str | None, typer.Option("--by", help="Only by this key's id.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="2026-11-22, '2026-11-22 14:00', or 2h: two hours ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="The same, not included.")] = None,
) -> None:
    """List the movements of stock, newest first: what moved, how much, from what to what, why and by whom.

    Example: `holdfast transactions MUG --from 7d --type DAMAGE`
    """
    found = session.client.list_transactions(
        sku,
        type=kind,
        reference_type=reference_type,
        reference_id=reference,
        created_by=created_by,
        since=read_moment(since, "from"),
        until=read_moment(until, "to"),
        page_size=session.page_size,
    )
    session.output.rows(found, COLUMNS, limit=session.limit, empty="no movement is like that")


def _signed(units: int) -> Text:
    return Text(f"{units:+,}", style="green" if units > 0 else "red" if units < 0 else "")


def _reference(row: Transaction) -> str:
    return " ".join(part for part in (row.reference_type, row.reference_id) if part) or "-"


COLUMNS: list[Column[Transaction]] = [
    Column("at", lambda row: moment(row.created_at)),
    Column("sku", lambda row: row.sku),
    Column("type", lambda row: row.transaction_type),
    Column("units", lambda row: _signed(row.quantity), right=True),
    Column("before", lambda row: number(row.previous_stock), right=True),
    Column("after", lambda row: number(row.new_stock), right=True),
    Column("reference", _reference, spare=True),
    Column("reason", lambda row: row.reason or "-", spare=True),
    Column("by", lambda row: row.created_by, spare=True),
]


def described(row: Transaction) -> list[tuple[str, Cell | None]]:
    """A ledger row in lines."""
    return [
        ("sku", row.sku),
        ("type", row.transaction_type),
        ("units", _signed(row.quantity)),
        ("on hand", f"{number(row.previous_stock)} -> {number(row.new_stock)}"),
        ("reference", _reference(row)),
        ("reason", row.reason),
        ("by", row.created_by),
        ("at", moment(row.created_at)),
        ("ledger row", str(row.id)),
    ]
