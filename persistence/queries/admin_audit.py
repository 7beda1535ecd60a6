"""Who used which key for what: a row before an administrative request is carried out, its outcome after.

Owns the rows; what is written down of a request is api/audit.py's to say. Never holds a body.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, func, insert, select, text, tuple_, update

from persistence.database import Database, Transaction
from persistence.pages import Page, checked_limit, page_of, position_time, read_cursor, time_position
from persistence.tables import admin_audit, api_keys

_AUDIT = admin_audit.c


class AuditedRequest(Struct, frozen=True):
    """One administrative request."""

    id: int
    at: datetime
    key_id: str
    key_name: str
    """At the time of the request."""
    role: str
    action: str
    """Name of the operation, such as `adjust`."""
    method: str
    route: str
    """Path template."""
    target: str | None
    request_id: str
    idempotency_key: bool
    """Whether the request carried one."""
    status: int | None
    """HTTP status; None until it is known, and for ever when the process died before."""
    code: str | None
    """Problem code of a refusal."""
    duration_ms: int | None


class AuditFilter(Struct, frozen=True):
    """Which requests; None: any."""

    key_id: str | None = None
    action: str | None = None
    from_time: datetime | None = None
    """Not before this moment."""
    to_time: datetime | None = None
    """Before this moment."""


async def begin(
    database: Database,
    *,
    key_id: str,
    role: str,
    action: str,
    method: str,
    route: str,
    target: str | None,
    request_id: str,
    idempotency_key: bool,
) -> int:
    """Write down that a request is about to be carried out; its id. Raises DatabaseUnavailable.

    Safe against the end of any process at once, against a power cut with the first commit that follows: nothing that
    the request commits in Postgres can outlive its row.
    """
    name = select(api_keys.c.name).where(api_keys.c.id == key_id).scalar_subquery()
    statement = (
        insert(admin_audit)
        .values(
            key_id=key_id,
            key_name=func.coalesce(name, key_id),
            role=role,
            action=action,
            method=method,
            route=route,
            target=target,
            request_id=request_id,
            idempotency_key=idempotency_key,
        )
        .returning(_AUDIT.id)
    )
    async with _unhurried(database) as transaction:
        return int((await transaction.execute(statement)).scalar_one())


async def complete(
    database: Database, audit_id: int, *, status: int, code: str | None, target: str | None, duration_ms: int
) -> None:
    """Write down how it ended. Raises DatabaseUnavailable."""
    values = {"status": status, "code": code, "target": target, "duration_ms": duration_ms}
    async with _unhurried(database) as transaction:
        await transaction.execute(update(admin_audit).where(_AUDIT.id == audit_id).values(**values))


async def page(
    database: Database, filters: AuditFilter, limit: int = 50, cursor: str | None = None
) -> Page[AuditedRequest]:
    """A page of requests, newest first. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    scope = ("admin_audit", filters)
    statement = select(admin_audit).order_by(_AUDIT.at.desc(), _AUDIT.id.desc()).limit(checked_limit(limit) + 1)
    if filters.key_id is not None:
        statement = statement.where(_AUDIT.key_id == filters.key_id)
    if filters.action is not None:
        statement = statement.where(_AUDIT.action == filters.action)
    if filters.from_time is not None:
        statement = statement.where(_AUDIT.at >= filters.from_time)
    if filters.to_time is not None:
        statement = statement.where(_AUDIT.at < filters.to_time)
    if cursor is not None:
        micros, last_id = read_cursor(await database.cursor_key(), scope, cursor, (int, int))
        statement = statement.where(tuple_(_AUDIT.at, _AUDIT.id) < tuple_(position_time(int(micros)), last_id))
    rows = await database.fetch(statement)
    return await page_of(
        rows,
        limit,
        _audited,
        lambda row: (time_position(row.at), row.id),
        key=database.cursor_key,
        scope=scope,
    )


@asynccontextmanager
async def _unhurried(database: Database) -> AsyncIterator[Transaction]:
    """A transaction whose commit does not wait for the disk: two waits a request would be most of its time."""
    async with database.transaction() as transaction:
        await transaction.execute(text("SET LOCAL synchronous_commit = off"))
        yield transaction


def _audited(row: Row[Any]) -> AuditedRequest:
    return AuditedRequest(*row[: len(admin_audit.c)])
