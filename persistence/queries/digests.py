"""Digests as Postgres keeps them, one a day, and the sums that they tell. Never decides when one is due."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from msgspec import Struct
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Database
from persistence.tables import inventory_transactions, stock_digests

_ROW = stock_digests.c
_LEDGER = inventory_transactions.c


class Digest(Struct, frozen=True):
    """One day's digest."""

    day: date
    summary: str
    """One line."""
    body: str


class Movements(Struct, frozen=True):
    """What the ledger says of one type within a span of time."""

    transaction_type: str
    rows: int
    units: int
    """Signed sum."""


async def get(database: Database, day: date) -> Digest | None:
    """The digest of a day, if it has been made. Raises DatabaseUnavailable."""
    rows = await database.fetch(select(stock_digests).where(_ROW.day == day))
    return Digest(rows[0].day, rows[0].summary, rows[0].body) if rows else None


async def keep(database: Database, digest: Digest) -> bool:
    """Keep a digest; False if the day has one already, which stays. Raises DatabaseUnavailable."""
    statement = insert(stock_digests).values(day=digest.day, summary=digest.summary, body=digest.body)
    return bool(await database.write(statement.on_conflict_do_nothing().returning(_ROW.day)))


async def claim_for_mail(database: Database, day: date, claim_s: float) -> bool:
    """True if the caller is to mail this digest: nobody has, nobody is about to. Raises DatabaseUnavailable."""
    expired = func.clock_timestamp() - timedelta(seconds=claim_s)
    statement = (
        update(stock_digests)
        .where(
            _ROW.day == day,
            _ROW.mailed_at.is_(None),
            or_(_ROW.mail_claimed_at.is_(None), _ROW.mail_claimed_at < expired),
        )
        .values(mail_claimed_at=func.clock_timestamp())
    )
    return bool(await database.write(statement.returning(_ROW.day)))


async def mailed(database: Database, day: date, sent: bool) -> None:
    """The mail of a claimed digest was sent; or it was not, and may be tried again. Raises DatabaseUnavailable."""
    values = {"mailed_at": func.clock_timestamp()} if sent else {"mail_claimed_at": None}
    await database.write(update(stock_digests).where(_ROW.day == day).values(**values))


async def movements(database: Database, from_time: datetime, to_time: datetime) -> list[Movements]:
    """Rows and units of the ledger by type, from a moment to before another. Raises DatabaseUnavailable."""
    statement = (
        select(_LEDGER.transaction_type, func.count().label("n"), func.sum(_LEDGER.quantity).label("units"))
        .where(_LEDGER.created_at >= from_time, _LEDGER.created_at < to_time)
        .group_by(_LEDGER.transaction_type)
        .order_by(_LEDGER.transaction_type)
    )
    return [Movements(row.transaction_type, row.n, int(row.units)) for row in await database.fetch(statement)]
