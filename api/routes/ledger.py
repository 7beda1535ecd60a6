"""Reading what happened: transactions and reservations, filtered, newest first. Answers come from Postgres alone."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from api.hot.decode import check_sku
from api.openapi import operation
from api.problems import invalid
from api.requests import Cursor, Limit, Reader, ServicesDep, TextFilter, check_filter, json_answer
from api.schemas.shop import ReservationList, ReservationState, TransactionKind, TransactionList
from api.views import reservation_view, transaction_view
from persistence.queries import reservations, transactions

if TYPE_CHECKING:
    from api.services import Services

router = APIRouter(prefix="/inventory", tags=["ledger"])

Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339; without an offset, UTC")]


def moment(text: str | None, name: str) -> datetime | None:
    """A time filter. Raises `validation-error` for anything but RFC 3339."""
    if text is None:
        return None
    try:
        # A plus sign in a query that was not escaped arrives as a space.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid("not an RFC 3339 time", name) from None


async def _transactions(  # noqa: PLR0917
    services: Services,
    sku: str | None,
    kind: TransactionKind | None,
    reference_type: str | None,
    reference_id: str | None,
    created_by: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
) -> Response:
    page = await transactions.page(
        services.database,
        transactions.TransactionFilter(
            sku=sku,
            transaction_type=kind,
            reference_type=check_filter(reference_type, "reference_type"),
            reference_id=check_filter(reference_id, "reference_id"),
            created_by=check_filter(created_by, "created_by"),
            from_time=moment(since, "from"),
            to_time=moment(until, "to"),
        ),
        limit,
        cursor,
    )
    return json_answer(TransactionList([transaction_view(row) for row in page.items], page.next_cursor))


@router.get("/transactions", summary="The ledger", **operation({200: TransactionList}, "invalid-cursor"))
async def list_transactions(  # noqa: PLR0917
    services: ServicesDep,
    caller: Reader,
    kind: Annotated[TransactionKind | None, Query(alias="type")] = None,
    reference_type: TextFilter = None,
    reference_id: TextFilter = None,
    created_by: TextFilter = None,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first. `from` is included, `to` is not."""
    return await _transactions(
        services, None, kind, reference_type, reference_id, created_by, since, until, limit, cursor
    )


@router.get(
    "/transactions/{sku}", summary="The ledger of one SKU", **operation({200: TransactionList}, "invalid-cursor")
)
async def list_sku_transactions(  # noqa: PLR0917
    sku: str,
    services: ServicesDep,
    caller: Reader,
    kind: Annotated[TransactionKind | None, Query(alias="type")] = None,
    reference_type: TextFilter = None,
    reference_id: TextFilter = None,
    created_by: TextFilter = None,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first; empty for a SKU that never moved."""
    check_sku(sku, "sku")
    return await _transactions(
        services, sku, kind, reference_type, reference_id, created_by, since, until, limit, cursor
    )


@router.get("/reservations", summary="Reservations", **operation({200: ReservationList}, "invalid-cursor"))
async def list_reservations(  # noqa: PLR0917
    services: ServicesDep,
    caller: Reader,
    status: ReservationState | None = None,
    customer_id: TextFilter = None,
    sku: TextFilter = None,
    order_id: TextFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first, as the ledger has them: a moment behind the counters."""
    page = await reservations.page(
        services.database,
        reservations.ReservationFilter(
            status=status,
            customer_id=check_filter(customer_id, "customer_id"),
            sku=check_filter(sku, "sku"),
            order_id=check_filter(order_id, "order_id"),
        ),
        limit,
        cursor,
    )
    now_ms = time.time_ns() // 1_000_000
    return json_answer(ReservationList([reservation_view(one, now_ms) for one in page.items], page.next_cursor))
