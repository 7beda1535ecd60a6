"""Approvals as rows: asked for, decided once, and the intent that stands while an approved change is being made.

Owns every condition under which a row may move on (nothing leaves PENDING twice). Never changes stock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, cast

from msgspec import Struct
from sqlalchemy import ColumnElement, Row, and_, case, func, literal_column, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Database, Transaction
from persistence.pages import Page, checked_limit, page_of, position_time, read_cursor, time_position
from persistence.tables import api_keys, approvals, inventory_transactions

ApprovalStatus = Literal["PENDING", "APPROVED", "REJECTED", "EXPIRED"]
ApprovalKind = Literal["receive", "remove", "count", "damage", "return"]

_APPROVAL = approvals.c
_LEDGER = inventory_transactions.c

_STALE: ColumnElement[bool] = and_(
    _APPROVAL.status == "PENDING", _APPROVAL.intent_at.is_(None), _APPROVAL.expires_at <= func.now()
)
"""Its time is over, whether or not somebody has written that down yet."""
_STATUS: ColumnElement[str] = case((_STALE, "EXPIRED"), else_=_APPROVAL.status)


class Intent(Struct, frozen=True):
    """Somebody approved it; whether the stock has moved is found out, not assumed."""

    by: str
    reason: str | None
    at: datetime
    epoch: int
    seq: int
    """Where the journal stood before: the change is behind it, if it was made."""


class Approval(Struct, frozen=True):
    """A stock change that waits for, or had, a second person's decision."""

    id: str
    status: ApprovalStatus
    base: str
    fingerprint: str
    kind: ApprovalKind
    lines: tuple[tuple[str, int], ...]
    """(SKU, units) as asked for."""
    reference: str
    difference: int | None
    """`count`: signed units that the count found too many; None for the other kinds."""
    units: int
    """Units moved in all, whatever their sign."""
    reason: str
    requested_by: str
    requested_by_name: str
    requested_at: datetime
    expires_at: datetime
    decided_by: str | None
    """None while PENDING, and when nobody decided (EXPIRED)."""
    decided_by_name: str | None
    decided_at: datetime | None
    decision_reason: str | None
    applied_epoch: int | None
    applied_seq: int | None
    """Of the journal event that made the change."""
    intent: Intent | None


class WantedApproval(Struct, frozen=True):
    """What is asked for; `Approval` says what the fields mean."""

    id: str
    base: str
    fingerprint: str
    kind: ApprovalKind
    lines: tuple[tuple[str, int], ...]
    reference: str
    difference: int | None
    units: int
    reason: str
    requested_by: str
    expiry_s: float


async def request(transaction: Transaction, wanted: WantedApproval) -> Approval | None:
    """A new PENDING row; None, and nothing written, when this base has one already."""
    statement = (
        insert(approvals)
        .values(
            id=wanted.id,
            base=wanted.base,
            fingerprint=wanted.fingerprint,
            kind=wanted.kind,
            lines=[list(line) for line in wanted.lines],
            reference=wanted.reference,
            difference=wanted.difference,
            units=wanted.units,
            reason=wanted.reason,
            requested_by=wanted.requested_by,
            requested_by_name=_name_of(wanted.requested_by),
            expires_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, wanted.expiry_s),
        )
        .on_conflict_do_nothing(index_elements=["base"])
        .returning(approvals, _STATUS.label("now_status"))
    )
    return _first((await transaction.execute(statement)).all())


async def get(database: Database, approval_id: str) -> Approval | None:
    """One approval. Raises DatabaseUnavailable."""
    return _first(await database.fetch(_selected().where(_APPROVAL.id == approval_id)))


async def by_base(database: Database, base: str) -> Approval | None:
    """The approval that was asked for under this base. Raises DatabaseUnavailable."""
    return _first(await database.fetch(_selected().where(_APPROVAL.base == base)))


async def page(
    database: Database, status: ApprovalStatus | None = None, limit: int = 50, cursor: str | None = None
) -> Page[Approval]:
    """A page of approvals, newest first. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    scope = ("approvals", status)
    order = (_APPROVAL.requested_at.desc(), _APPROVAL.id.desc())
    statement = _selected().order_by(*order).limit(checked_limit(limit) + 1)
    if status == "EXPIRED":
        statement = statement.where(or_(_APPROVAL.status == "EXPIRED", _STALE))
    elif status is not None:
        statement = statement.where(_APPROVAL.status == status, ~_STALE)
    if cursor is not None:
        micros, last_id = read_cursor(await database.cursor_key(), scope, cursor, (int, str))
        before = tuple_(position_time(int(micros)), last_id)
        statement = statement.where(tuple_(_APPROVAL.requested_at, _APPROVAL.id) < before)
    rows = await database.fetch(statement)
    return await page_of(
        rows,
        limit,
        _approval,
        lambda row: (time_position(row.requested_at), row.id),
        key=database.cursor_key,
        scope=scope,
    )


async def note_intent(
    database: Database, approval_id: str, *, by: str, reason: str | None, epoch: int, seq: int
) -> Approval | None:
    """Write down that the change is about to be made; None when the row is no longer open to that.

    Raises DatabaseUnavailable: it may have been written then, which is found by whoever comes next.
    """
    statement = (
        update(approvals)
        .where(_APPROVAL.id == approval_id, _APPROVAL.status == "PENDING", _APPROVAL.intent_at.is_(None), ~_STALE)
        .values(intent_by=by, intent_reason=reason, intent_at=func.now(), intent_epoch=epoch, intent_seq=seq)
        .returning(approvals, _APPROVAL.status.label("now_status"))
    )
    return _first(await database.write(statement))


async def withdraw_intent(database: Database, approval_id: str) -> Approval | None:
    """The change was not made, and will not be by this attempt: open for a decision again."""
    statement = (
        update(approvals)
        .where(_APPROVAL.id == approval_id, _APPROVAL.status == "PENDING")
        .values(intent_by=None, intent_reason=None, intent_at=None, intent_epoch=None, intent_seq=None)
        .returning(approvals, _STATUS.label("now_status"))
    )
    return _first(await database.write(statement))


async def approved(transaction: Transaction, approval_id: str, *, epoch: int, seq: int) -> Approval | None:
    """The intent has come true, as event `seq`: the decision is who had the intent. None when decided already."""
    statement = (
        update(approvals)
        .where(_APPROVAL.id == approval_id, _APPROVAL.status == "PENDING", _APPROVAL.intent_at.is_not(None))
        .values(
            status="APPROVED",
            decided_by=_APPROVAL.intent_by,
            decided_by_name=_name_of(_APPROVAL.intent_by),
            decided_at=func.now(),
            decision_reason=_APPROVAL.intent_reason,
            applied_epoch=epoch,
            applied_seq=seq,
        )
        .returning(approvals, _APPROVAL.status.label("now_status"))
    )
    return _first((await transaction.execute(statement)).all())


async def rejected(transaction: Transaction, approval_id: str, *, by: str, reason: str | None) -> Approval | None:
    """Turned down; None when it was decided, is about to be made, or its time is over."""
    statement = (
        update(approvals)
        .where(_APPROVAL.id == approval_id, _APPROVAL.status == "PENDING", _APPROVAL.intent_at.is_(None), ~_STALE)
        .values(
            status="REJECTED",
            decided_by=by,
            decided_by_name=_name_of(by),
            decided_at=func.now(),
            decision_reason=reason,
        )
        .returning(approvals, _APPROVAL.status.label("now_status"))
    )
    return _first((await transaction.execute(statement)).all())


async def expired(transaction: Transaction, most: int, reason: str) -> tuple[Approval, ...]:
    """Write down of up to `most` stale requests that their time is over."""
    stale = (
        select(_APPROVAL.id).where(_STALE).order_by(_APPROVAL.expires_at).limit(most).with_for_update(skip_locked=True)
    )
    return await _ended(transaction, _APPROVAL.id.in_(stale), reason)


async def superseded_counts(
    transaction: Transaction, sku: str, reason: str, *, except_id: str = ""
) -> tuple[Approval, ...]:
    """End the open counts of this SKU, all but `except_id`: their difference has been seen again."""
    first_sku: ColumnElement[str] = literal_column("approvals.lines -> 0 ->> 0")
    of_sku = and_(_APPROVAL.kind == "count", first_sku == sku, _APPROVAL.id != except_id, _APPROVAL.intent_at.is_(None))
    return await _ended(transaction, of_sku, reason)


async def interrupted(database: Database, older_than_s: float, most: int) -> tuple[Approval, ...]:
    """Approvals whose intent has stood for longer than that: nobody came back to say how it ended."""
    since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, older_than_s)
    statement = _selected().where(_APPROVAL.status == "PENDING", _APPROVAL.intent_at < since)
    rows = await database.fetch(statement.order_by(_APPROVAL.intent_at).limit(most))
    return tuple(_approval(row) for row in rows)


async def made_event(
    database: Database, approval: Approval, transaction_type: str, reference_types: tuple[str, ...]
) -> tuple[int, int] | None:
    """(epoch, seq) of the ledger event that is this approval's change, made after its intent; None: there is none.

    The engine's own memory of a change ends with the idempotency window; the ledger's does not. An event that another
    approval has as its own is not taken. Raises DatabaseUnavailable.
    """
    if approval.intent is None:
        return None
    sku, units = approval.lines[0]
    moved = approval.difference if approval.difference is not None else units
    taken = select(text("1")).where(
        _APPROVAL.applied_epoch == _LEDGER.epoch, _APPROVAL.applied_seq == _LEDGER.seq, _APPROVAL.id != approval.id
    )
    statement = (
        select(_LEDGER.epoch, _LEDGER.seq)
        .where(
            _LEDGER.sku == sku,
            _LEDGER.created_by == approval.requested_by,
            _LEDGER.transaction_type == transaction_type,
            _LEDGER.reference_type.in_(reference_types),
            _LEDGER.reference_id == approval.reference,
            _LEDGER.reason == approval.reason,
            func.abs(_LEDGER.quantity) == abs(moved),
            tuple_(_LEDGER.epoch, _LEDGER.seq) > tuple_(approval.intent.epoch, approval.intent.seq),
            # For the index by SKU and time; the two clocks are not further apart than this.
            _LEDGER.created_at > approval.intent.at - timedelta(days=1),
            ~taken.exists(),
        )
        .order_by(_LEDGER.epoch, _LEDGER.seq)
        .limit(1)
    )
    rows = await database.fetch(statement)
    return (rows[0].epoch, rows[0].seq) if rows else None


async def _ended(transaction: Transaction, which: ColumnElement[bool], reason: str) -> tuple[Approval, ...]:
    statement = (
        update(approvals)
        .where(which, _APPROVAL.status == "PENDING")
        .values(status="EXPIRED", decided_at=func.now(), decision_reason=reason)
        .returning(approvals, _APPROVAL.status.label("now_status"))
    )
    return tuple(_approval(row) for row in (await transaction.execute(statement)).all())


def _selected() -> Any:
    return select(approvals, _STATUS.label("now_status"))


def _name_of(key_id: Any) -> Any:
    """The key's name at this moment; its id when there is no such key."""
    return func.coalesce(select(api_keys.c.name).where(api_keys.c.id == key_id).scalar_subquery(), key_id)


def _first(rows: Any) -> Approval | None:
    return _approval(rows[0]) if rows else None


def _approval(row: Row[Any]) -> Approval:
    intent = None
    if row.intent_at is not None and row.status == "PENDING":
        intent = Intent(row.intent_by, row.intent_reason, row.intent_at, row.intent_epoch, row.intent_seq)
    return Approval(
        id=row.id,
        status=cast("ApprovalStatus", row.now_status),
        base=row.base,
        fingerprint=row.fingerprint,
        kind=row.kind,
        lines=tuple((sku, units) for sku, units in row.lines),
        reference=row.reference,
        difference=row.difference,
        units=row.units,
        reason=row.reason,
        requested_by=row.requested_by,
        requested_by_name=row.requested_by_name,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        decided_by=row.decided_by,
        decided_by_name=row.decided_by_name,
        decided_at=row.decided_at,
        decision_reason=row.decision_reason,
        applied_epoch=row.applied_epoch,
        applied_seq=row.applied_seq,
        intent=intent,
    )
