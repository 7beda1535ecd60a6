"""`holdfast approvals`: large stock changes that wait for a second person, and that person's decision.

Owns what is typed and shown; who may decide is the service's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.commands.output import Cell, Column, age, moment, number, state
from runtime.commands.reservations import in_words
from runtime.commands.session import Session, YesOption, command_group, service_command

if TYPE_CHECKING:
    from holdfast_client import Approval

app = command_group("Look at large stock changes that wait for a second person, approve or reject them.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the approval.", show_default=False)]
Why = Annotated[str | None, typer.Option("--reason", "-r", help="Why, 3-500 characters; kept for good.")]


@service_command(app, "list", lists=True)
def list_approvals(
    session: Session,
    status: Annotated[
        Literal["PENDING", "APPROVED", "REJECTED", "EXPIRED"] | None,
        typer.Option(help="Only those.", case_sensitive=False),
    ] = None,
) -> None:
    """List changes that wait or waited for a second person, newest first.

    Example: `holdfast approvals list --status PENDING`
    """
    columns: list[Column[Approval]] = [
        Column("id", lambda one: one.id),
        Column("status", lambda one: state(one.status)),
        Column("change", lambda one: one.kind),
        Column("lines", lambda one: in_words(one.lines)),
        Column("units", lambda one: number(one.units), right=True),
        Column("by", lambda one: one.requested_by_name, spare=True),
        Column("asked", lambda one: age(one.requested_at), spare=True),
        Column("reason", lambda one: one.reason, spare=True),
    ]
    found = session.client.list_approvals(status=status, page_size=session.page_size)
    session.output.rows(found, columns, limit=session.limit, empty="no change waits for anybody")


@service_command(app, "show")
def show_approval(session: Session, approval_id: Id) -> None:
    """Show one of them, with the ledger rows that it made.

    Example: `holdfast approvals show apr_5d0c1f2a9be07d33`
    """
    found = session.client.get_approval(approval_id)
    session.output.one(found, described(found))


@service_command(app, "approve")
def approve(session: Session, approval_id: Id, reason: Why = None, yes: YesOption = False) -> None:
    """Let a change be made, against the stock of this moment. Shows it and asks. Needs another manager's key.

    Example: `holdfast approvals approve apr_5d0c1f2a9be07d33`
    """
    _shown_first(session, approval_id, "Let this change be made?", yes)
    decided = session.client.approve(approval_id, reason=reason)
    session.output.one(decided, described(decided))


@service_command(app, "reject")
def reject(session: Session, approval_id: Id, reason: Why = None, yes: YesOption = False) -> None:
    """Do not let a change be made, now or later. Shows it and asks.

    Example: `holdfast approvals reject apr_5d0c1f2a9be07d33 --reason "counted again"`
    """
    _shown_first(session, approval_id, "Reject this change?", yes)
    decided = session.client.reject(approval_id, reason=reason)
    session.output.one(decided, described(decided))


def _shown_first(session: Session, approval_id: str, question: str, yes: bool) -> None:
    if not yes:
        if session.output.for_people:
            found = session.client.get_approval(approval_id)
            session.output.one(found, described(found))
        session.agreed(question, yes)


def described(approval: Approval) -> list[tuple[str, Cell | None]]:
    """An approval in lines."""
    shown: list[tuple[str, Cell | None]] = [
        ("id", approval.id),
        ("status", state(approval.status)),
        ("change", approval.kind),
        ("lines", in_words(approval.lines)),
        ("moves", f"{number(approval.units)} units"),
        ("reason", approval.reason),
        ("reference", approval.reference),
        ("asked by", f"{approval.requested_by_name}, {moment(approval.requested_at)}"),
    ]
    if approval.difference is not None:
        shown[4] = ("moves", f"{approval.difference:+,} units")
    if approval.decided_at is None:
        shown.append(("waits until", moment(approval.expires_at)))
    else:
        shown.append(
            ("decided by", f"{approval.decided_by_name or approval.decided_by}, {moment(approval.decided_at)}")
        )
        shown.append(("because", approval.decision_reason))
    if isinstance(approval.transactions, list):
        rows = (f"{row.sku}: {row.previous_stock:,} -> {row.new_stock:,}" for row in approval.transactions)
        shown.append(("made", "; ".join(rows)))
    return shown
