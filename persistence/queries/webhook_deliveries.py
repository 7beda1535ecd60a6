"""What is to be sent to webhooks, how it went, and the log of it.

Owns the SQL of the table; never decides when to try again or when to give up (inventory/webhooks/delivery.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, cast

from msgspec import Struct
from sqlalchemy import Row, func, select, text, update

from persistence.database import Database, Transaction
from persistence.pages import Page, checked_limit, page_of, read_cursor
from persistence.tables import webhook_deliveries

DeliveryStatus = Literal["PENDING", "DELIVERED", "FAILED", "DISCARDED"]

ROWS_A_STATEMENT: Final = 5_000

_ROW = webhook_deliveries.c
_SHOWN: Final = tuple(column for column in _ROW if column.name != "body")


class NewDelivery(Struct, frozen=True):
    """An event for a webhook."""

    webhook_id: str
    event_id: str
    type: str
    body: str
    """As it is sent."""


class DueDelivery(Struct, frozen=True):
    """Something to be sent now."""

    id: int
    event_id: str
    type: str
    body: str
    attempts: int


class AttemptOutcome(Struct, frozen=True):
    """What came of sending one delivery."""

    id: int
    status: DeliveryStatus
    next_s: float
    """Seconds until the next attempt, if the status is PENDING."""
    http_status: int | None
    error: str | None


class Delivery(Struct, frozen=True, kw_only=True):
    """One line of the delivery log."""

    id: int
    webhook_id: str
    event_id: str
    type: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    last_attempt_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None


async def add_deliveries(transaction: Transaction, rows: Sequence[NewDelivery]) -> None:
    """Keep what is to be sent, due at once. An event that a webhook has already is passed over."""
    statement = text(
        "INSERT INTO webhook_deliveries (webhook_id, event_id, type, body, next_attempt_at)"
        " SELECT webhook_id, event_id, type, body, now() FROM unnest(CAST(:webhooks AS text[]),"
        " CAST(:events AS text[]), CAST(:types AS text[]), CAST(:bodies AS text[]))"
        " AS new (webhook_id, event_id, type, body)"
        " ON CONFLICT (webhook_id, event_id) DO NOTHING"
    )
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        some = rows[start : start + ROWS_A_STATEMENT]
        await transaction.execute(
            statement,
            {
                "webhooks": [row.webhook_id for row in some],
                "events": [row.event_id for row in some],
                "types": [row.type for row in some],
                "bodies": [row.body for row in some],
            },
        )


async def due_deliveries(database: Database, webhook_id: str, at_most: int) -> tuple[DueDelivery, ...]:
    """What is due of a webhook, longest due first, events in their order."""
    statement = (
        select(_ROW.id, _ROW.event_id, _ROW.type, _ROW.body, _ROW.attempts)
        .where(_ROW.webhook_id == webhook_id, _ROW.status == "PENDING", _ROW.next_attempt_at <= func.now())
        .order_by(_ROW.next_attempt_at, _ROW.id)
        .limit(at_most)
    )
    return tuple(
        DueDelivery(row.id, row.event_id, row.type, row.body, row.attempts) for row in await database.fetch(statement)
    )


async def next_due_in_s(database: Database, webhook_id: str) -> float | None:
    """Seconds until something of this webhook is due (0 or less: now), as far as it may be sent at all, or None."""
    statement = text(
        "SELECT extract(epoch FROM greatest(min(d.next_attempt_at), w.resume_at) - now()) AS seconds"
        " FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id"
        " WHERE d.webhook_id = :webhook AND d.status = 'PENDING' AND w.status = 'active' GROUP BY w.resume_at"
    )
    rows = await database.fetch(statement.bindparams(webhook=webhook_id))
    return float(rows[0].seconds) if rows else None


async def webhooks_with_due(database: Database) -> tuple[str, ...]:
    """Every webhook that somebody should send to now."""
    statement = text(
        "SELECT id FROM webhooks w WHERE status = 'active' AND coalesce(resume_at <= now(), true)"
        " AND coalesce(leased_until <= now(), true) AND EXISTS (SELECT FROM webhook_deliveries d"
        " WHERE d.webhook_id = w.id AND d.status = 'PENDING' AND d.next_attempt_at <= now()) ORDER BY id"
    )
    return tuple(row.id for row in await database.fetch(statement))


async def record_outcomes(transaction: Transaction, outcomes: Sequence[AttemptOutcome]) -> None:
    """Write down one attempt at each of these deliveries."""
    statement = text(
        "UPDATE webhook_deliveries d SET status = new.status, attempts = d.attempts + 1, last_attempt_at = now(),"
        " next_attempt_at = CASE WHEN new.status = 'PENDING' THEN now() + make_interval(secs => new.next_s) END,"
        " delivered_at = CASE WHEN new.status = 'DELIVERED' THEN now() END,"
        " last_status = new.last_status, last_error = new.last_error"
        " FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:nexts AS double precision[]),"
        " CAST(:http AS integer[]), CAST(:errors AS text[]))"
        " AS new (id, status, next_s, last_status, last_error)"
        # A job whose lease had ended may come late: it never takes back what another one has done.
        " WHERE d.id = new.id AND (d.status = 'PENDING' OR new.status = 'DELIVERED')"
    )
    await transaction.execute(
        statement,
        {
            "ids": [outcome.id for outcome in outcomes],
            "statuses": [outcome.status for outcome in outcomes],
            "nexts": [outcome.next_s for outcome in outcomes],
            "http": [outcome.http_status for outcome in outcomes],
            "errors": [outcome.error for outcome in outcomes],
        },
    )


async def delivery_page(
    database: Database,
    webhook_id: str,
    status: DeliveryStatus | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Delivery]:
    """A page of a webhook's log, newest first. Raises InvalidCursor; ValueError for the limit."""
    scope = ("webhook_deliveries", webhook_id, status)
    statement = select(*_SHOWN).where(_ROW.webhook_id == webhook_id).order_by(_ROW.id.desc())
    if status is not None:
        statement = statement.where(_ROW.status == status)
    if cursor is not None:
        (last_id,) = read_cursor(await database.cursor_key(), scope, cursor, (int,))
        statement = statement.where(_ROW.id < last_id)
    rows = await database.fetch(statement.limit(checked_limit(limit) + 1))
    return await page_of(rows, limit, _delivery, lambda row: (row.id,), key=database.cursor_key, scope=scope)


async def delivery_of_event(database: Database, webhook_id: str, event_id: str) -> Delivery | None:
    """The delivery of one event to one webhook."""
    rows = await database.fetch(select(*_SHOWN).where(_ROW.webhook_id == webhook_id, _ROW.event_id == event_id))
    return _delivery(rows[0]) if rows else None


async def begin_delivery_anew(database: Database, webhook_id: str, delivery_id: int) -> Delivery | None:
    """Make a delivery due now, with all its attempts before it, however it stands; None if there is none."""
    statement = (
        update(webhook_deliveries)
        .where(_ROW.webhook_id == webhook_id, _ROW.id == delivery_id)
        .values(status="PENDING", attempts=0, next_attempt_at=func.now(), delivered_at=None)
    )
    rows = await database.write(statement.returning(*_SHOWN))
    return _delivery(rows[0]) if rows else None


async def discard_of_deleted_webhooks(database: Database) -> int:
    """Give up what still waits for webhooks that are deleted; how many."""
    statement = text(
        "UPDATE webhook_deliveries SET status = 'DISCARDED', next_attempt_at = NULL,"
        " last_error = 'the webhook was deleted' WHERE id IN (SELECT d.id FROM webhook_deliveries d"
        " JOIN webhooks w ON w.id = d.webhook_id WHERE w.status = 'deleted' AND d.status = 'PENDING'"
        " LIMIT :rows) RETURNING id"
    )
    return await _in_chunks(database, statement.bindparams(rows=ROWS_A_STATEMENT))


async def discard_beyond(database: Database, at_most: int) -> int:
    """Give up the oldest of more than `at_most` deliveries that wait for one webhook; how many, of all webhooks."""
    statement = text(
        "UPDATE webhook_deliveries SET status = 'DISCARDED', next_attempt_at = NULL,"
        " last_error = 'too many deliveries were waiting' WHERE id IN ("
        "SELECT d.id FROM webhooks w CROSS JOIN LATERAL (SELECT e.id FROM webhook_deliveries e"
        " WHERE e.webhook_id = w.id AND e.status = 'PENDING' ORDER BY e.id DESC OFFSET :most LIMIT 1) AS edge"
        " JOIN webhook_deliveries d ON d.webhook_id = w.id AND d.status = 'PENDING' AND d.id <= edge.id"
        " WHERE w.status = 'active' LIMIT :rows) RETURNING id"
    )
    return await _in_chunks(database, statement.bindparams(most=at_most, rows=ROWS_A_STATEMENT))


async def delete_old_deliveries(database: Database, older_than_s: int) -> int:
    """Drop log lines made that long ago, sent or not; how many. In chunks, each a transaction of its own."""
    # Ids grow with time, so what is old stands at the front of the primary key.
    statement = text(
        "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries ORDER BY id LIMIT :rows)"
        " AND created_at < now() - make_interval(secs => :age) RETURNING id"
    )
    return await _in_chunks(database, statement.bindparams(rows=ROWS_A_STATEMENT, age=older_than_s))


async def _in_chunks(database: Database, statement: Any) -> int:
    total = 0
    while True:
        done = len(await database.write(statement))
        total += done
        if done < ROWS_A_STATEMENT:
            return total


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        type=row.type,
        status=cast("DeliveryStatus", row.status),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        created_at=row.created_at,
        last_attempt_at=row.last_attempt_at,
        delivered_at=row.delivered_at,
        last_status=row.last_status,
        last_error=row.last_error,
    )
