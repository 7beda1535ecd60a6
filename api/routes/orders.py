"""/inventory/orders: what the shop's order system reports, and what of it came by the stream and could not be applied.

Owns how it is asked and answered; what it means stands in inventory/orders.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from fastapi import APIRouter, Path, Request, Response

from api.audit import audit_target
from api.openapi import operation
from api.requests import Cursor, Limit, Reader, Reserver, ServicesDep, StockChanger, json_answer, read_json
from api.schemas.orders import DeadLetterList, DeadLetterState, DeadLetterView
from api.schemas.shop import OrderBody, OrderView
from api.views import reservation_view, timestamp_of, transaction_view
from inventory.order_dead_letters import retry
from inventory.order_events import check_event
from inventory.orders import OrderOutcome, Reporter, report_order
from persistence.queries import order_dead_letters

if TYPE_CHECKING:
    from inventory.order_events import OrderEvent
    from persistence.queries.order_dead_letters import DeadLetter

router = APIRouter(prefix="/inventory", tags=["orders"])

_BODY: Final = msgspec.json.Decoder(OrderBody)
_REFUSED: Final = (
    "unknown-reservation",
    "unknown-order",
    "reservation-expired",
    "reservation-not-active",
    "reservation-state-unknown",
    "order-cancelled",
    "stock-limit",
    "durability-unknown",
)


@router.post(
    "/orders",
    summary="Report an order as created or cancelled",
    **operation(
        {200: OrderView},
        *_REFUSED,
        body=OrderBody,
    ),
)
async def report(request: Request, services: ServicesDep, caller: Reserver) -> Response:
    """Answered once the ledger has it. Repeating an event gives the same answer and changes nothing."""
    event: OrderEvent = await read_json(request, _BODY)
    check_event(event)
    audit_target(request, event.order_id)
    return json_answer(order_view(await report_order(services.inventory, Reporter(caller.id, caller.owner), event)))


@router.get(
    "/orders/dead-letters",
    summary="Order events of the stream that could not be applied",
    **operation({200: DeadLetterList}, "invalid-cursor"),
)
async def list_dead_letters(
    services: ServicesDep,
    caller: Reader,
    status: DeadLetterState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first. `code` and `detail` say why, as POST /inventory/orders would have."""
    page = await order_dead_letters.page(services.database, status, limit, cursor)
    return json_answer(DeadLetterList([_letter_view(letter) for letter in page.items], page.next_cursor))


@router.post(
    "/orders/dead-letters/{id}/retry",
    summary="Try an order event again",
    **operation({200: OrderView}, "unknown-dead-letter", "malformed-json", *_REFUSED),
)
async def retry_dead_letter(
    letter_id: Annotated[int, Path(alias="id", ge=1, le=2**63 - 1)], services: ServicesDep, caller: StockChanger
) -> Response:
    """Applied in the caller's name. Refused again: that counts as one more attempt. Done before: the same answer."""
    return json_answer(order_view(await retry(services.inventory, letter_id, caller.id)))


def _letter_view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.id,
        stream=letter.stream,
        stream_id=letter.stream_id,
        order_id=letter.order_id,
        body=letter.body.decode(errors="backslashreplace"),
        code=letter.code,
        detail=letter.detail,
        attempts=letter.attempts,
        status=letter.status,
        created_at=timestamp_of(letter.created_at),
        updated_at=timestamp_of(letter.updated_at),
        resolved_by=letter.resolved_by,
    )


def order_view(outcome: OrderOutcome) -> OrderView:
    """What an event came to, as the contract shows it."""
    return OrderView(
        outcome.order_id,
        outcome.status,
        [reservation_view(one, outcome.now_ms) for one in outcome.reservations],
        [transaction_view(row) for row in outcome.transactions],
    )
