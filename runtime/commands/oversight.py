"""`holdfast reconciliation` and `admin-audit`: do counters and ledger agree, and who did what with which key.

Owns what is typed and shown. Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from runtime.command_line import FOUND_SOMETHING
from runtime.commands.arguments import read_moment
from runtime.commands.output import Column, moment, number, printable, state
from runtime.commands.session import Session, service_command

if TYPE_CHECKING:
    from holdfast_client import AuditEntry

reconciliation_app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
admin_audit_app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

PATIENCE_S: Final = 120.0
"""How long the service may look at a large stock."""
SHOWN: Final = 20
"""Differences of a table."""


@service_command(reconciliation_app, "reconciliation")
def reconciliation(session: Session) -> None:
    """Hold counters, holds, journal and ledger against each other now. Exit code 1: they differ.

    What it finds is repaired on the server, by `holdfast audit --repair`.

    Example: `holdfast reconciliation`
    """
    session.patience_s = PATIENCE_S
    found = session.client.reconciliation()
    output = session.output
    if output.for_people:
        table = Table("invariant", "", "looked at", "differences", box=None, header_style="bold", pad_edge=False)
        for check in found.checks:
            told = Text("none", "green") if not check.differences else Text(number(check.differences), "red")
            table.add_row(check.invariant, printable(check.statement), number(check.looked_at), told)
        output.show(table)
        for drift in found.drift[:SHOWN]:
            what = " ".join(part for part in (drift.sku, drift.reservation_id) if part) or "store"
            detail = f" ({drift.detail})" if drift.detail else ""
            output.show(
                Text(printable(f"{what}: {drift.counter} {drift.actual:,}, expected {drift.expected:,}{detail}"), "red")
            )
        if found.drift_found > SHOWN:
            output.show(Text(f"and {found.drift_found - SHOWN:,} more"))
        output.show(
            Text.assemble(
                state(found.status),
                f": {found.checked_skus:,} SKUs and {found.checked_holds:,} holds at event {found.seq:,} of epoch "
                f"{found.epoch}; the ledger was {found.journal_lag_events:,} events behind",
            )
        )
    else:
        output.document(found)
    if found.status != "ok":
        raise typer.Exit(FOUND_SOMETHING)


@service_command(admin_audit_app, "admin-audit", lists=True)
def admin_audit(
    session: Session,
    by: Annotated[str | None, typer.Option("--by", help="Only by the key with this id.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this, such as adjust or approve.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="2026-11-22, '2026-11-22 14:00', or 2h: two hours ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="The same, not included.")] = None,
) -> None:
    """List who asked to change what, with which key, and how it ended; newest first, refused requests too.

    Example: `holdfast admin-audit --from 1d --action adjust`
    """
    columns: list[Column[AuditEntry]] = [
        Column("at", lambda one: moment(one.at)),
        Column("key", lambda one: one.key_name or one.key_id),
        Column("role", lambda one: one.role, spare=True),
        Column("action", lambda one: one.action),
        Column("about", lambda one: one.target or "-"),
        Column("status", _outcome, right=True),
        Column("problem", lambda one: one.code or "-", spare=True),
        Column("request", lambda one: one.request_id, spare=True),
    ]
    found = session.client.list_audit(
        key_id=by,
        action=action,
        since=read_moment(since, "from"),
        until=read_moment(until, "to"),
        page_size=session.page_size,
    )
    session.output.rows(found, columns, limit=session.limit, empty="nobody has asked for anything like that")


def _outcome(entry: AuditEntry) -> Text:
    if entry.status is None:
        return Text("-", "dim")
    return Text(str(entry.status), "green" if entry.status < 400 else "red")
