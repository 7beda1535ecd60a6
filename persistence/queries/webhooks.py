"""Webhooks: made, listed, changed, and what signs for them. What is sent to them stands in webhook_deliveries.py.

Owns the SQL of the table; never decides what is right. Only `claim_webhook` reads a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, cast

from msgspec import Struct
from sqlalchemy import Integer, Row, Text, bindparam, case, func, insert, literal, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import ColumnElement

from persistence.database import Database, Transaction
from persistence.pages import Page, checked_limit, page_of, position_time, read_cursor, time_position
from persistence.tables import webhooks

WebhookStatus = Literal["active", "disabled"]

_HOOK = webhooks.c
_SHOWN: Final = (
    _HOOK.id,
    _HOOK.url,
    _HOOK.events,
    _HOOK.status,
    _HOOK.reason,
    _HOOK.created_by,
    _HOOK.created_at,
    _HOOK.disabled_at,
    _HOOK.failing_since,
    _HOOK.failures,
    _HOOK.resume_at,
    _HOOK.last_delivered_at,
    _HOOK.previous_secret_until,
)


class Webhook(Struct, frozen=True, kw_only=True):
    """What may be shown of a webhook."""

    id: str
    url: str
    events: tuple[str, ...]
    status: WebhookStatus
    reason: str
    """Why it is disabled; empty while it is active."""
    created_by: str
    created_at: datetime
    disabled_at: datetime | None
    failing_since: datetime | None
    """First failed attempt since the last delivery."""
    failures: int
    """Failed attempts since the last delivery."""
    resume_at: datetime | None
    """Nothing is sent before: too much failed in a row."""
    last_delivered_at: datetime | None
    previous_secret_until: datetime | None
    """Until when the secret before the present one signs as well."""


class Subscription(Struct, frozen=True):
    """Who gets what: events of these patterns after this position."""

    webhook_id: str
    patterns: tuple[str, ...]
    from_epoch: int
    from_seq: int
    paused: bool
    """Nothing is sent to it for a while."""


class ClaimedWebhook(Struct, frozen=True):
    """A webhook that this caller alone may send to, until the lease ends."""

    id: str
    url: str
    secret: str
    previous_secret: str | None
    failures: int

    def __repr__(self) -> str:
        return f"ClaimedWebhook({self.id})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("id", self.id)]


class Standing(Struct, frozen=True):
    """How a webhook stands after an attempt was written down."""

    active: bool
    failures: int
    failing_s: float
    """Seconds since the first failure after the last delivery; 0 when there is none."""


def _there() -> ColumnElement[bool]:
    return _HOOK.status != "deleted"


async def insert_webhook(
    database: Database,
    webhook_id: str,
    *,
    url: str,
    events: Sequence[str],
    secret: str,
    created_by: str,
    position: tuple[int, int],
    at_most: int,
) -> Webhook | None:
    """Keep a new webhook that gets events after `position` (epoch, seq); None if there are `at_most` already."""
    others = select(func.count()).select_from(webhooks).where(_there()).scalar_subquery()
    epoch, seq = position
    row = select(
        literal(webhook_id),
        literal(url),
        bindparam("events", list(events), ARRAY(Text)),
        literal(secret),
        literal(created_by),
        literal(epoch),
        literal(seq),
    ).where(others < at_most)
    columns = ["id", "url", "events", "secret", "created_by", "from_epoch", "from_seq"]
    rows = await database.write(insert(webhooks).from_select(columns, row).returning(*_SHOWN))
    return _webhook(rows[0]) if rows else None


async def webhook_by_id(database: Database, webhook_id: str) -> Webhook | None:
    """The webhook, unless it was deleted or never was."""
    rows = await database.fetch(select(*_SHOWN).where(_HOOK.id == webhook_id, _there()))
    return _webhook(rows[0]) if rows else None


async def webhook_page(database: Database, limit: int = 50, cursor: str | None = None) -> Page[Webhook]:
    """A page of all webhooks, newest first. Raises InvalidCursor; ValueError for the limit."""
    scope = ("webhooks",)
    statement = select(*_SHOWN).where(_there()).order_by(_HOOK.created_at.desc(), _HOOK.id.desc())
    if cursor is not None:
        micros, last_id = read_cursor(await database.cursor_key(), scope, cursor, (int, str))
        statement = statement.where(tuple_(_HOOK.created_at, _HOOK.id) < tuple_(position_time(int(micros)), last_id))
    rows = await database.fetch(statement.limit(checked_limit(limit) + 1))
    return await page_of(
        rows,
        limit,
        _webhook,
        lambda row: (time_position(row.created_at), row.id),
        key=database.cursor_key,
        scope=scope,
    )


async def delete_webhook(database: Database, webhook_id: str) -> bool:
    """Take the webhook away, its secrets at once; False if there is none. Its log stays for a while."""
    statement = (
        update(webhooks)
        .where(_HOOK.id == webhook_id, _there())
        .values(status="deleted", reason="", secret="", previous_secret=None, previous_secret_until=None)
        .values(disabled_at=func.now())
    )
    return bool(await database.write(statement.returning(_HOOK.id)))


async def replace_secret(database: Database, webhook_id: str, secret: str, both_for_s: int) -> Webhook | None:
    """`secret` from now on, and the present one beside it for `both_for_s` seconds; None if there is no webhook."""
    statement = (
        update(webhooks)
        .where(_HOOK.id == webhook_id, _there())
        .values(secret=secret, previous_secret=_HOOK.secret, previous_secret_until=_in_s(both_for_s))
    )
    rows = await database.write(statement.returning(*_SHOWN))
    return _webhook(rows[0]) if rows else None


async def enable_webhook(database: Database, webhook_id: str, position: tuple[int, int]) -> Webhook | None:
    """Send again what waits, and events after `position` (epoch, seq) if it was disabled; None if there is none."""
    epoch, seq = position
    disabled = _HOOK.status == "disabled"
    statement = (
        update(webhooks)
        .where(_HOOK.id == webhook_id, _there())
        .values(
            status="active",
            reason="",
            disabled_at=None,
            failing_since=None,
            failures=0,
            resume_at=None,
            from_epoch=case((disabled, epoch), else_=_HOOK.from_epoch),
            from_seq=case((disabled, seq), else_=_HOOK.from_seq),
        )
    )
    rows = await database.write(statement.returning(*_SHOWN))
    return _webhook(rows[0]) if rows else None


async def disable_webhook(database: Database, webhook_id: str, reason: str) -> bool:
    """Send nothing more until it is enabled; False if it was not active."""
    statement = (
        update(webhooks)
        .where(_HOOK.id == webhook_id, _HOOK.status == "active")
        .values(status="disabled", reason=reason, disabled_at=func.now())
    )
    return bool(await database.write(statement.returning(_HOOK.id)))


async def subscriptions(transaction: Transaction) -> tuple[Subscription, ...]:
    """What every active webhook asks for."""
    paused = func.coalesce(_HOOK.resume_at > func.now(), False).label("paused")
    asked = select(_HOOK.id, _HOOK.events, _HOOK.from_epoch, _HOOK.from_seq, paused).where(_HOOK.status == "active")
    rows = (await transaction.execute(asked)).all()
    return tuple(Subscription(row.id, tuple(row.events), row.from_epoch, row.from_seq, row.paused) for row in rows)


async def claim_webhook(database: Database, webhook_id: str, lease: str, lease_s: int) -> ClaimedWebhook | None:
    """The webhook for this caller alone, for `lease_s` seconds, under the name `lease` (random).

    None if it is not active, is not to be tried yet, or another caller has it.
    """
    statement = (
        update(webhooks)
        .where(
            _HOOK.id == webhook_id,
            _HOOK.status == "active",
            or_(_HOOK.resume_at.is_(None), _HOOK.resume_at <= func.now()),
            or_(_HOOK.leased_until.is_(None), _HOOK.leased_until <= func.now()),
        )
        .values(lease=lease, leased_until=_in_s(lease_s))
    )
    still_good = case((_HOOK.previous_secret_until > func.now(), _HOOK.previous_secret)).label("previous")
    rows = await database.write(statement.returning(_HOOK.id, _HOOK.url, _HOOK.secret, still_good, _HOOK.failures))
    if not rows:
        return None
    row = rows[0]
    return ClaimedWebhook(row.id, row.url, row.secret, row.previous, row.failures)


async def release_webhook(database: Database, webhook_id: str, lease: str) -> None:
    """Let another caller send, unless one does already because the lease had ended."""
    statement = update(webhooks).where(_HOOK.id == webhook_id, _HOOK.lease == lease)
    await database.write(statement.values(lease=None, leased_until=None))


async def record_success(transaction: Transaction, webhook_id: str, lease: str, lease_s: int) -> Standing | None:
    """The endpoint takes what it gets; the lease runs anew. None if it was lost: another caller sends now."""
    return await _renew(
        transaction,
        webhook_id,
        lease,
        lease_s,
        failing_since=None,
        failures=0,
        resume_at=None,
        last_delivered_at=func.now(),
    )


async def record_failures(
    transaction: Transaction, webhook_id: str, lease: str, lease_s: int, *, failed: int, pause_s: int
) -> Standing | None:
    """`failed` attempts more, none succeeded; nothing is sent for `pause_s` seconds. None as `record_success`."""
    return await _renew(
        transaction,
        webhook_id,
        lease,
        lease_s,
        failing_since=func.coalesce(_HOOK.failing_since, func.now()),
        failures=_HOOK.failures + failed,
        resume_at=_in_s(pause_s) if pause_s else None,
    )


async def _renew(transaction: Transaction, webhook_id: str, lease: str, lease_s: int, **values: Any) -> Standing | None:
    statement = (
        update(webhooks)
        .where(_HOOK.id == webhook_id, _HOOK.lease == lease)
        .values(leased_until=_in_s(lease_s), **values)
    )
    failing_s = func.extract("epoch", func.now() - _HOOK.failing_since).label("failing_s")
    row = (await transaction.execute(statement.returning(_HOOK.status, _HOOK.failures, failing_s))).first()
    return None if row is None else Standing(row.status == "active", row.failures, float(row.failing_s or 0))


async def forget_deleted_webhooks(database: Database, older_than_s: int) -> int:
    """Drop what is left of webhooks deleted that long ago whose log is gone; how many."""
    statement = text(
        "DELETE FROM webhooks w WHERE status = 'deleted' AND disabled_at < now() - make_interval(secs => :age)"
        " AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id) RETURNING id"
    )
    return len(await database.write(statement.bindparams(age=older_than_s)))


def _in_s(seconds: int) -> ColumnElement[datetime]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, bindparam(None, seconds, Integer, unique=True))


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        url=row.url,
        events=tuple(row.events),
        status=cast("WebhookStatus", row.status),
        reason=row.reason,
        created_by=row.created_by,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        failing_since=row.failing_since,
        failures=row.failures,
        resume_at=row.resume_at,
        last_delivered_at=row.last_delivered_at,
        previous_secret_until=row.previous_secret_until,
    )
