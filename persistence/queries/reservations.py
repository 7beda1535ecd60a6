"""Reservations as Postgres remembers them: one by id, and filtered lists newest first. Never writes.

Postgres follows the journal, so an ACTIVE row may have ended a moment ago; Redis decides what is alive.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, Select, func, select, text, tuple_

from engine.results import Reservation, ReservationStatus
from persistence.database import Database
from persistence.pages import Page, checked_limit, page_of, position_time, read_cursor, time_position
from persistence.tables import inventory_transactions, reservation_skus, stock_reservations

_RESERVATION = stock_reservations.c


class ReservationFilter(Struct, frozen=True):
    """Which reservations; None: any."""

    status: ReservationStatus | None = None
    customer_id: str | None = None
    sku: str | None = None
    """Holds it, or held it when it ended."""
    order_id: str | None = None
    owner: str | None = None
    """Id of the API key that made it."""


async def by_id(database: Database, reservation_id: str) -> Reservation | None:
    """One reservation, whoever made it. Raises DatabaseUnavailable."""
    rows = await database.fetch(select(stock_reservations).where(_RESERVATION.id == reservation_id))
    return reservation_of(rows[0]) if rows else None


async def page(
    database: Database, filters: ReservationFilter, limit: int = 50, cursor: str | None = None
) -> Page[Reservation]:
    """A page of reservations, newest first. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    scope = ("reservations", filters)
    statement, created_at, row_id = _filtered(filters)
    statement = statement.order_by(created_at.desc(), row_id.desc()).limit(checked_limit(limit) + 1)
    if cursor is not None:
        micros, last_id = read_cursor(await database.cursor_key(), scope, cursor, (int, str))
        statement = statement.where(tuple_(created_at, row_id) < tuple_(position_time(int(micros)), last_id))
    rows = await database.fetch(statement)
    return await page_of(
        rows,
        limit,
        reservation_of,
        lambda row: (time_position(row.created_at), row.id),
        key=database.cursor_key,
        scope=scope,
    )


def reservation_of(row: Row[Any]) -> Reservation:
    """A row of `stock_reservations` as the engine's own struct."""
    return Reservation(
        id=row.id,
        status=row.status,
        owner=row.owner,
        customer_id=row.customer_id,
        cart_id=row.cart_id,
        order_id=row.order_id,
        lines=tuple((line["sku"], line["quantity"]) for line in row.lines),
        created_ms=_unix_ms(row.created_at),
        updated_ms=_unix_ms(row.updated_at),
        deadline_ms=_unix_ms(row.expires_at),
    )


def _filtered(filters: ReservationFilter) -> tuple[Select[Any], Any, Any]:
    """The statement, and the columns to order by: those of the table whose index gives the order."""
    statement = select(stock_reservations)
    created_at, row_id = _RESERVATION.created_at, _RESERVATION.id
    if filters.sku is not None:
        held = reservation_skus.c
        statement = statement.join(reservation_skus, held.reservation_id == _RESERVATION.id)
        statement = statement.where(held.sku == filters.sku)
        created_at, row_id = held.created_at, held.reservation_id
    if filters.order_id is not None:
        # By the sale: an index on order_id would cost every confirm (see tables.py).
        sale = inventory_transactions.c
        sold = select(sale.reservation_id).where(
            sale.reference_id == filters.order_id,
            sale.reference_type == "Order",
            sale.transaction_type == "OUT",
        )
        statement = statement.where(_RESERVATION.id.in_(sold), _RESERVATION.order_id == filters.order_id)
    if filters.status is not None:
        statement = statement.where(_RESERVATION.status == filters.status)
    if filters.status == "ACTIVE":
        # Nothing stays ACTIVE a day past its deadline; this keeps the search to what ends now or later.
        statement = statement.where(_RESERVATION.expires_at > func.now() - text("interval '1 day'"))
    if filters.customer_id is not None:
        statement = statement.where(_RESERVATION.customer_id == filters.customer_id)
    if filters.owner is not None:
        statement = statement.where(_RESERVATION.owner == filters.owner)
    return statement, created_at, row_id


def _unix_ms(moment: datetime) -> int:
    return time_position(moment) // 1000
