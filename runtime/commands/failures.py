"""How a command that did not succeed ends: what the service said, what to do next, and the exit code.

Owns the words and the codes; never repeats a request (the client does that where it is safe). Never shows a key.
"""

from __future__ import annotations

from typing import Any, Final

import httpx
import msgspec
from rich.table import Table
from rich.text import Text

from holdfast_client import errors
from runtime.command_line import REFUSED_BY_SERVICE, UNREACHABLE, WRONG_USE
from runtime.commands.output import Output, number, printable
from runtime.commands.session import Session, WrongUse

MOST: Final = 20
"""Rows of a table beside a refusal; the rest is counted."""

NEXT: Final = {
    "unauthenticated": "This service does not know the key, or it was revoked. Give another one with --key-file or "
    "HOLDFAST_API_KEY; on the server, `holdfast keys create NAME ROLE` makes one.",
    "forbidden": "The key's role may not do this. Reading needs auditor, changing stock operator, approvals manager, "
    "webhooks admin, reserving storefront or admin.",
    "unknown-sku": "`holdfast products list --search TEXT` finds one; `holdfast products set SKU ...` makes one.",
    "unknown-reservation": "`holdfast reservations list` shows those there are.",
    "unknown-approval": "`holdfast approvals list` shows those there are.",
    "unknown-alert": "`holdfast alerts list` shows those there are.",
    "unknown-webhook": "`holdfast webhooks list` shows those there are.",
    "unknown-delivery": "`holdfast webhooks deliveries WEBHOOK` shows those there are.",
    "insufficient-stock": "`holdfast stock SKU` shows what is there and what is held.",
    "product-inactive": "`holdfast products set SKU --status active` lets it be reserved again.",
    "idempotency-key-reused": "Leave --idempotency-key out to make a new change.",
    "self-approval": "Somebody else has to decide: use another person's key.",
    "approval-decided": "`holdfast approvals show ID` shows who decided, and how.",
    "approval-expired": "Ask for the change again with `holdfast adjust`.",
    "reservation-expired": "Its units are free again; `holdfast reserve` makes a new hold.",
    "reservation-not-active": "`holdfast reservations show ID` shows how it ended.",
    "stock-moved": "--force applies the import all the same; importing the file again shows what it would change now.",
    "preview-expired": "Import the file again.",
    "preview-has-errors": "Nothing was changed; mend the file and import it again.",
    "unknown-import": "`holdfast imports list` shows those there are.",
    "webhook-disabled": "`holdfast webhooks enable ID` lets it be sent to again.",
    "rate-limited": "Wait a moment; the limits of each role are settings of the service.",
    "not-ready": "It is starting or recovering; try again in a moment. `/readyz` of the service says what is missing.",
    "journal-full": "Postgres is too far behind. Holds can be confirmed and released meanwhile.",
    "store-unavailable": "Its Redis cannot be reached; try again in a moment.",
    "ledger-unavailable": "Its Postgres cannot be reached; try again in a moment.",
    "internal-error": "A mistake of the service; its log has more under the request id.",
}
"""Problem code -> what to do next."""

_TABLES: Final = (
    ("shortages", (("sku", "sku"), ("requested", "asked for"), ("available", "free"))),
    ("items", (("sku", "sku"), ("requested", "asked for"), ("returnable", "can come back"))),
    ("rows", (("row", "row"), ("sku", "sku"), ("expected", "previewed"), ("on_hand", "on hand now"))),
    ("errors", (("row", "row"), ("column", "column"), ("code", "code"), ("message", "what is wrong"))),
    ("errors", (("at", "where"), ("message", "what is wrong"))),
)
"""Members of a problem that are lists, as tables."""


def tell(session: Session, error: Exception) -> int | None:  # noqa: PLR0911 - one for each kind of failure
    """Tell an error on standard error; its exit code. None: it is not one that this module knows."""
    output = session.output
    if isinstance(error, errors.Problem):
        return _problem(session, error)
    if isinstance(error, errors.NotConnected):
        _say(output, f"{_address(session)} cannot be reached: {_cause(error)}", _WHERE, "unreachable")
        return UNREACHABLE
    if isinstance(error, errors.AnswerLost):
        _say(output, f"{_address(session)} did not answer to the end: {_cause(error)}", _again(session), "no-answer")
        return UNREACHABLE
    if isinstance(error, errors.UnreadableAnswer):
        _say(output, f"what answers at {_address(session)} is no Holdfast: {error}", _WHERE, "not-holdfast")
        return UNREACHABLE
    from runtime.refusals import AWAY, REFUSALS

    if isinstance(error, REFUSALS):
        away = isinstance(error, AWAY)
        _say(output, str(error), "", "servers-away" if away else "wrong-use")
        return UNREACHABLE if away else WRONG_USE
    if isinstance(error, OSError):
        file = f"{error.filename}: " if error.filename else ""
        _say(output, f"{file}{error.strerror or error}", "", "wrong-use")
        return WRONG_USE
    if isinstance(error, (WrongUse, errors.HoldfastError, httpx.InvalidURL, ValueError, msgspec.ValidationError)):
        _say(output, str(error), "", "wrong-use")
        return WRONG_USE
    return None


def _problem(session: Session, problem: errors.Problem) -> int:
    output = session.output
    unavailable = isinstance(problem, (errors.Unavailable, errors.InternalError))
    if not output.for_people:
        document = dict(problem.members)
        if unavailable and session.idempotency_key:
            document["idempotency_key"] = session.idempotency_key
        output.remarks.print(Text(msgspec.json.encode(document).decode()), soft_wrap=True)
        return UNREACHABLE if unavailable else REFUSED_BY_SERVICE
    for name, columns in _TABLES:
        rows = problem.members.get(name)
        if isinstance(rows, list) and rows and isinstance(rows[0], dict) and columns[0][0] in rows[0]:
            _table(output, columns, rows)
    follow = NEXT.get(problem.code, "")
    if isinstance(problem, (errors.OutcomeUnknown, errors.DurabilityUnknown)):
        follow = _again(session)
    if isinstance(problem, errors.InternalError) and problem.request_id:
        follow = f"{follow} ({problem.request_id})"
    _say(output, f"{problem.code}: {problem.detail or problem.title}", follow, problem.code)
    return UNREACHABLE if unavailable else REFUSED_BY_SERVICE


_WHERE: Final = (
    "Is it running? `holdfast up` starts one here; --url or HOLDFAST_URL names another, "
    "--data-dir the one that runs on it."
)


def _again(session: Session) -> str:
    if session.idempotency_key:
        return (
            "It may have been carried out. To find out without doing it twice, give the same command again with "
            f"--idempotency-key {session.idempotency_key}"
        )
    return "It may have been carried out. The same command again is safe."


def _say(output: Output, text: str, follow: str, code: str) -> None:
    if not output.for_people:
        document = {"code": code, "detail": text} | ({"next": follow} if follow else {})
        output.remarks.print(Text(msgspec.json.encode(document).decode()), soft_wrap=True)
        return
    output.say(f"holdfast: {text}", style="red")
    if follow:
        output.say(follow, style="")


def _table(output: Output, columns: tuple[tuple[str, str], ...], rows: list[Any]) -> None:
    table = Table(*(title for _, title in columns), box=None, header_style="bold", pad_edge=False)
    for row in rows[:MOST]:
        cells = [row.get(name) for name, _ in columns]
        table.add_row(*(Text(number(cell) if isinstance(cell, int) else printable(str(cell))) for cell in cells))
    output.remarks.print(table)
    if len(rows) > MOST:
        output.say(f"... and {len(rows) - MOST:,} more")


def _address(session: Session) -> str:
    return session.target[0]


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__
