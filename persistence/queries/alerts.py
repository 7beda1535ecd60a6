"""Alerts as Postgres has them: the current one of each SKU, changes by their one writer at a time, lists.

Owns the statements; never decides what becomes of an alert (inventory/alerts/states.py). Everything that writes takes
`one_writer` first, so that nobody decides on what another is just changing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Row, and_, bindparam, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from persistence.database import Database, Transaction
from persistence.pages import Page, checked_limit, page_of, read_cursor
from persistence.tables import alerts

AlertKind = Literal["LOW_STOCK", "OUT_OF_STOCK"]
AlertStatus = Literal["PENDING", "NOTIFIED", "RESOLVED"]
Episode = Literal["open", "muted", "fading", "over"]

_ROW = alerts.c
_WRITER: Final = 0x484F_4C44_0005
_FOLLOWING: Final = 0x484F_4C44_0006
"""Keys of advisory locks; who takes both takes _FOLLOWING first."""
_ROWS_A_STATEMENT: Final = 500


class Alert(Struct, frozen=True, kw_only=True):
    """One alert. Times in Unix milliseconds, quantities in units."""

    id: int = 0
    """0: not in the table yet."""
    sku: str
    kind: AlertKind
    status: AlertStatus
    episode: Episode
    available: int
    """When `kind` was last decided."""
    threshold: int
    sell_out_seconds: int | None = None
    """The estimate of that moment; None: nothing was being sold."""
    raised_ms: int
    changed_ms: int
    notified_ms: int | None = None
    resolved_ms: int | None = None
    resolved_by: str | None = None
    """`system`, or the id of an API key."""
    fades_ms: int | None = None
    """Until then units that were only held do not make a new alert of it. None: no such time."""
    told_again: bool = False
    """It got worse: whoever was told of it must be told once more. Never read back."""
    epoch: int = 0
    seq: int = 0
    """The last journal event it has heard of, of that epoch."""


class AlertFilter(Struct, frozen=True):
    """Which alerts; None: any."""

    status: AlertStatus | None = None
    sku: str | None = None


async def one_writer(transaction: Transaction) -> None:
    """Wait until no other transaction writes alerts, and keep others from it until this one ends."""
    await transaction.execute(select(func.pg_advisory_xact_lock(_WRITER)))


async def following(transaction: Transaction) -> None:
    """Keep checks out until this transaction ends: it looks at alerts for what the journal says."""
    await transaction.execute(select(func.pg_advisory_xact_lock_shared(_FOLLOWING)))


async def checking(transaction: Transaction) -> None:
    """Wait until no transaction is `following`, and let none begin until this one ends."""
    await transaction.execute(select(func.pg_advisory_xact_lock(_FOLLOWING)))


async def current(transaction: Transaction, skus: Iterable[str]) -> dict[str, Alert]:
    """The alerts of these SKUs that are not over, by SKU: at most one each."""
    wanted = bindparam("skus", sorted(set(skus)), type_=ARRAY(_ROW.sku.type))
    rows = await transaction.execute(select(alerts).where(_ROW.sku == func.any(wanted), _ROW.episode != "over"))
    return {row.sku: _alert(row) for row in rows}


async def current_skus(database: Database) -> list[str]:
    """The SKUs that have an alert which is not over. Raises DatabaseUnavailable."""
    return [row.sku for row in await database.fetch(select(_ROW.sku).where(_ROW.episode != "over").order_by(_ROW.sku))]


async def save(transaction: Transaction, changed: Sequence[Alert], partition: int) -> list[Alert]:
    """Write alerts: those with an id are changed, those without are made. What was written, in order, with ids."""
    known = [alert for alert in changed if alert.id]
    if known:
        await transaction.execute(_UPDATE, [_changes(alert) for alert in known])
    new = [alert for alert in changed if not alert.id]
    ids: dict[str, int] = {}
    for offset in range(0, len(new), _ROWS_A_STATEMENT):
        some = new[offset : offset + _ROWS_A_STATEMENT]
        statement = insert(alerts).values([_values(alert, partition) for alert in some])
        rows = await transaction.execute(statement.returning(_ROW.sku, _ROW.id))
        ids.update({row.sku: row.id for row in rows})
    return [alert if alert.id else replace(alert, id=ids[alert.sku]) for alert in changed]


async def notified(transaction: Transaction, ids: Sequence[int], kind: AlertKind | None = None) -> int:
    """PENDING alerts become NOTIFIED, those of another `kind` left out; how many."""
    wanted = bindparam("ids", list(ids), type_=ARRAY(_ROW.id.type))
    statement = update(alerts).where(_ROW.id == func.any(wanted), _ROW.status == "PENDING")
    if kind is not None:
        statement = statement.where(_ROW.kind == kind)
    changed = await transaction.execute(
        statement.values(status="NOTIFIED", notified_at=func.clock_timestamp()).returning(_ROW.id)
    )
    return len(changed.all())


async def resolve(transaction: Transaction, alert_id: int, resolved_by: str) -> Alert | None:
    """The alert, resolved by a person now if it was open; None if there is no such alert."""
    await transaction.execute(
        update(alerts)
        .where(_ROW.id == alert_id, _ROW.status != "RESOLVED")
        .values(
            status="RESOLVED",
            episode="muted",
            resolved_at=func.clock_timestamp(),
            resolved_by=resolved_by,
            fades_at=None,
        )
    )
    row = (await transaction.execute(select(alerts).where(_ROW.id == alert_id))).one_or_none()
    return None if row is None else _alert(row)


async def claim_for_mail(transaction: Transaction, limit: int, claim_s: float) -> list[Alert]:
    """Open alerts that no mail has told of, for this caller to mail; nobody else gets them for `claim_s` seconds."""
    due = (
        select(_ROW.id)
        .where(
            _ROW.status != "RESOLVED",
            _ROW.mailed_at.is_(None),
            or_(
                _ROW.mail_claimed_at.is_(None),
                _ROW.mail_claimed_at < func.clock_timestamp() - timedelta(seconds=claim_s),
            ),
        )
        .order_by(_ROW.id)
        .limit(limit)
    )
    rows = await transaction.execute(
        update(alerts).where(_ROW.id.in_(due)).values(mail_claimed_at=func.clock_timestamp()).returning(*alerts.c)
    )
    return sorted((_alert(row) for row in rows), key=lambda alert: alert.id)


async def mailed(transaction: Transaction, told: Sequence[Alert]) -> None:
    """A mail has told of these: PENDING ones are NOTIFIED. One that got worse meanwhile is told of once more."""
    for alert in told:
        # What got worse was set free again (save), so that the claim of this mail is gone.
        still = and_(_ROW.id == alert.id, _ROW.mail_claimed_at.is_not(None))
        row = await transaction.execute(
            update(alerts).where(still).values(mailed_at=func.clock_timestamp()).returning(_ROW.id)
        )
        if row.all():
            await notified(transaction, [alert.id])


async def not_mailed(transaction: Transaction, told: Sequence[Alert]) -> None:
    """Give alerts claimed for a mail back: the mail could not be sent."""
    wanted = bindparam("ids", [alert.id for alert in told], type_=ARRAY(_ROW.id.type))
    await transaction.execute(update(alerts).where(_ROW.id == func.any(wanted)).values(mail_claimed_at=None))


async def page(database: Database, filters: AlertFilter, limit: int = 50, cursor: str | None = None) -> Page[Alert]:
    """A page of alerts, newest first. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    scope = ("alerts", filters)
    statement = select(alerts).order_by(_ROW.id.desc()).limit(checked_limit(limit) + 1)
    if filters.status is not None:
        statement = statement.where(_ROW.status == filters.status)
    if filters.sku is not None:
        statement = statement.where(_ROW.sku == filters.sku)
    if cursor is not None:
        (last_id,) = read_cursor(await database.cursor_key(), scope, cursor, (int,))
        statement = statement.where(_ROW.id < last_id)
    rows = await database.fetch(statement)
    return await page_of(rows, limit, _alert, lambda row: (row.id,), key=database.cursor_key, scope=scope)


async def open_counts(database: Database) -> dict[str, int]:
    """How many alerts are open, by kind. Raises DatabaseUnavailable."""
    rows = await database.fetch(
        select(_ROW.kind, func.count().label("n")).where(_ROW.status != "RESOLVED").group_by(_ROW.kind)
    )
    return {row.kind: row.n for row in rows}


async def forget(database: Database, resolved_before: datetime, limit: int) -> int:
    """Delete up to `limit` alerts that were over before a moment; how many went. Raises DatabaseUnavailable."""
    old = (
        select(_ROW.id)
        .where(_ROW.episode.in_(("over", "fading")), _ROW.resolved_at < resolved_before)
        .order_by(_ROW.id)
        .limit(limit)
    )
    return len(await database.write(delete(alerts).where(_ROW.id.in_(old)).returning(_ROW.id)))


async def ever_stocked(transaction: Transaction, skus: Iterable[str]) -> set[str]:
    """Those of `skus` that the ledger has a row of."""
    found = await transaction.execute(
        text(
            "SELECT s.sku FROM unnest(CAST(:skus AS text[])) AS s (sku)"
            " WHERE EXISTS (SELECT FROM inventory_transactions t WHERE t.sku = s.sku)"
        ),
        {"skus": sorted(set(skus))},
    )
    return {row.sku for row in found}


def _changes(alert: Alert) -> dict[str, Any]:
    return {"b_" + name: value for name, value in _mutable(alert).items()} | {
        "b_id": alert.id,
        "b_told_again": alert.told_again,
    }


def _mutable(alert: Alert) -> dict[str, Any]:
    return {
        "kind": alert.kind,
        "status": alert.status,
        "episode": alert.episode,
        "available": alert.available,
        "threshold": alert.threshold,
        "sell_out_seconds": alert.sell_out_seconds,
        "changed_at": _moment(alert.changed_ms),
        "notified_at": _moment(alert.notified_ms),
        "resolved_at": _moment(alert.resolved_ms),
        "resolved_by": alert.resolved_by,
        "fades_at": _moment(alert.fades_ms),
        "epoch": alert.epoch,
        "seq": alert.seq,
    }


def _values(alert: Alert, partition: int) -> dict[str, Any]:
    return _mutable(alert) | {"sku": alert.sku, "raised_at": _moment(alert.raised_ms), "partition": partition}


_NAMES: Final = (
    "kind", "status", "episode", "available", "threshold", "sell_out_seconds", "changed_at", "notified_at",
    "resolved_at", "resolved_by", "fades_at", "epoch", "seq",
)  # fmt: skip
_UPDATE: Final = (
    update(alerts)
    .where(_ROW.id == bindparam("b_id"))
    .values(
        {name: bindparam("b_" + name, type_=alerts.c[name].type) for name in _NAMES}
        | {
            name: text(f"CASE WHEN :b_told_again THEN NULL ELSE {name} END")
            for name in ("mailed_at", "mail_claimed_at")
        }
    )
)


def _alert(row: Row[Any]) -> Alert:
    return Alert(
        id=row.id,
        sku=row.sku,
        kind=row.kind,
        status=row.status,
        episode=row.episode,
        available=row.available,
        threshold=row.threshold,
        sell_out_seconds=row.sell_out_seconds,
        raised_ms=_ms(row.raised_at),
        changed_ms=_ms(row.changed_at),
        notified_ms=_ms_or_none(row.notified_at),
        resolved_ms=_ms_or_none(row.resolved_at),
        resolved_by=row.resolved_by,
        fades_ms=_ms_or_none(row.fades_at),
        epoch=row.epoch,
        seq=row.seq,
    )


def _moment(unix_ms: int | None) -> datetime | None:
    return None if unix_ms is None else datetime.fromtimestamp(unix_ms / 1000, UTC)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _ms_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else _ms(moment)
