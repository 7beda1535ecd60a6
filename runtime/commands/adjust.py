"""`holdfast adjust`: stock received, removed, counted, written off, taken back.

Owns what is typed and shown; whether a change may be made, and by whom, is the service's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runtime.commands.approvals import described as approval_lines
from runtime.commands.arguments import Lines, Reason, Sku, read_lines
from runtime.commands.session import KeyOption, Session, command_group, service_command
from runtime.commands.transactions import COLUMNS
from runtime.commands.transactions import described as row_lines

if TYPE_CHECKING:
    from holdfast_client import Approval, Return, Transaction

app = command_group(
    """Change stock by hand: each change needs a reason and becomes a row of the ledger.

A large one waits for a second person: see `holdfast approvals`. Repeat a command whose end you did not see with the
`--idempotency-key` that it showed: it is never carried out twice.""",
)

Units = Annotated[int, typer.Argument(metavar="UNITS", min=1, help="How many.", show_default=False)]
Counted = Annotated[int, typer.Argument(metavar="UNITS", min=0, help="What is on the shelf.", show_default=False)]
Reference = Annotated[str | None, typer.Option("--reference", help="A delivery note or the like.")]


@service_command(app, "receive")
def receive(
    session: Session,
    sku: Sku,
    units: Units,
    reason: Reason,
    reference: Reference = None,
    idempotency_key: KeyOption = None,
) -> None:
    """Add units that came in.

    Example: `holdfast adjust receive MUG 200 --reason "delivery" --reference DN-4711`
    """
    _adjust(session, sku, "receive", units, reason, reference, idempotency_key)


@service_command(app, "remove")
def remove(
    session: Session,
    sku: Sku,
    units: Units,
    reason: Reason,
    reference: Reference = None,
    idempotency_key: KeyOption = None,
) -> None:
    """Take units out, never more than are not held.

    Example: `holdfast adjust remove MUG 3 --reason "samples for the fair"`
    """
    _adjust(session, sku, "remove", units, reason, reference, idempotency_key)


@service_command(app, "count")
def count(
    session: Session,
    sku: Sku,
    units: Counted,
    reason: Reason,
    reference: Reference = None,
    idempotency_key: KeyOption = None,
) -> None:
    """Set on hand to what was counted. A count that finds what was expected is recorded too.

    Example: `holdfast adjust count MUG 187 --reason "yearly count"`
    """
    _adjust(session, sku, "count", units, reason, reference, idempotency_key)


@service_command(app, "damage")
def damage(session: Session, sku: Sku, units: Units, reason: Reason, idempotency_key: KeyOption = None) -> None:
    """Write off units that can no longer be sold.

    Example: `holdfast adjust damage MUG 2 --reason "dropped in the yard"`
    """
    key = session.key_for(idempotency_key)
    _show(session, session.client.damage(sku, units, reason=reason, idempotency_key=key))


@service_command(app, "return")
def take_back(
    session: Session,
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order it was sold by.", show_default=False)],
    lines: Lines,
    reason: Reason,
    idempotency_key: KeyOption = None,
) -> None:
    """Take units back from an order, never more than it sold and has not given back.

    Example: `holdfast adjust return 4711 MUG=1 --reason "wrong colour"`
    """
    key = session.key_for(idempotency_key)
    _show(session, session.client.return_units(order, read_lines(lines), reason=reason, idempotency_key=key))


def _adjust(
    session: Session,
    sku: str,
    kind: Literal["receive", "remove", "count"],
    units: int,
    reason: str,
    reference: str | None,
    idempotency_key: str | None,
) -> None:
    key = session.key_for(idempotency_key)
    made = session.client.adjust(sku, kind, units, reason=reason, reference=reference, idempotency_key=key)
    _show(session, made)


def _show(session: Session, made: Transaction | Return | Approval) -> None:
    from holdfast_client import Approval, Return

    if isinstance(made, Approval):
        # In JSON as the service says it, so that a program can tell it from a ledger row.
        answer: dict[str, Any] = {"approval": made}
        session.output.one(answer, approval_lines(made))
        if session.output.for_people:
            session.output.say(
                f"nothing has moved: somebody else has to approve it: holdfast approvals approve {made.id}", "yellow"
            )
    elif isinstance(made, Return):
        if session.output.for_people:
            session.output.rows(made.transactions, COLUMNS, limit=None, empty="nothing came back")
        else:
            session.output.document(made)
    else:
        session.output.one(made, row_lines(made))
    session.tell_key()
