"""POST /inventory/orders: what the shop's order system reports, created or cancelled, both repeatable.

Owns how it is asked and answered; what it means stands in inventory/orders.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from fastapi import APIRouter, Request, Response

from api.openapi import operation
from api.requests import Reserver, ServicesDep, json_answer, read_json
from api.schemas import OrderBody, OrderView
from api.views import reservation_view, transaction_view
from inventory.order_events import check_event
from inventory.orders import OrderOutcome, Reporter, report_order

if TYPE_CHECKING:
    from inventory.order_events import OrderEvent

router = APIRouter(prefix="/inventory", tags=["orders"])

_BODY: Final = msgspec.json.Decoder(OrderBody)


@router.post(
    "/orders",
    summary="Report an order as created or cancelled",
    **operation(
        {200: OrderView},
        "unknown-reservation",
        "unknown-order",
        "reservation-expired",
        "reservation-not-active",
        "reservation-state-unknown",
        "order-cancelled",
        "stock-limit",
        "durability-unknown",
        body=OrderBody,
    ),
)
async def report(request: Request, services: ServicesDep, caller: Reserver) -> Response:
    """Answered once the ledger has it. Repeating an event gives the same answer and changes nothing."""
    event: OrderEvent = await read_json(request, _BODY)
    check_event(event)
    return json_answer(order_view(await report_order(services.inventory, Reporter(caller.id, caller.owner), event)))


def order_view(outcome: OrderOutcome) -> OrderView:
    """What an event came to, as the contract shows it."""
    return OrderView(
        outcome.order_id,
        outcome.status,
        [reservation_view(one, outcome.now_ms) for one in outcome.reservations],
        [transaction_view(row) for row in outcome.transactions],
    )
