"""POST /inventory/orders: what the shop's order system reports. Created confirms, cancelled puts back; both repeatable.

Owns the order events' meaning. The units of an order are what its ledger rows say, never what a request says.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from api.hot.by_id import ended, unknown_reservation
from api.hot.decode import check_text
from api.hot.endpoints import wait_for_ledger
from api.hot.respond import stored_json
from api.openapi import operation
from api.problems import OF_STATUS, Problem, invalid
from api.requests import Reserver, ServicesDep, check_reason, json_answer, read_json
from api.routes.changes import refusal
from api.schemas import OrderBody, OrderCancelled, OrderCreated, OrderView
from api.stored import stored_reservation
from api.views import reservation_view, transaction_view
from engine.commands import Adjust, Confirm, Read
from engine.identity import derived_base, fingerprint, is_reservation_id, split_id
from engine.limits import MAX_LINES, MAX_QUANTITY
from persistence.queries import orders, reservations

if TYPE_CHECKING:
    from api.auth import Caller
    from api.services import Services
    from engine.results import Reservation

router = APIRouter(prefix="/inventory", tags=["orders"])

_BODY: Final = msgspec.json.Decoder(OrderBody)
DEFAULT_REASON: Final = "order cancelled"


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
        "durability-unknown",
        body=OrderBody,
    ),
)
async def report_order(request: Request, services: ServicesDep, caller: Reserver) -> Response:
    """Answered once the ledger has it. Repeating an event gives the same answer and changes nothing."""
    body: OrderCreated | OrderCancelled = await read_json(request, _BODY)
    check_text(body.order_id, "$.order_id")
    if isinstance(body, OrderCreated):
        return json_answer(await _created(services, caller, body))
    reason = DEFAULT_REASON if body.reason is UNSET else check_reason(body.reason)
    return json_answer(await _cancelled(services, caller, body.order_id, reason))


async def _created(services: Services, caller: Caller, body: OrderCreated) -> OrderView:
    ids = list(dict.fromkeys(body.reservation_ids))
    for reservation_id in ids:
        if not is_reservation_id(reservation_id):
            raise unknown_reservation()
    pairs = tuple(split_id(reservation_id) for reservation_id in ids)
    if len({base for base, _ in pairs}) != len(pairs):
        # Two ids of one idempotency key, of which at most one can be alive.
        raise invalid("two of the reservations cannot both exist", "$.reservation_ids")
    late = services.settings.late_confirm
    result = await services.engine.execute(Confirm(pairs, body.order_id, caller.owner, caller.id, late))
    if result.status in {"ok", "replayed"}:
        await wait_for_ledger(services, result.seq)
        confirmed = list(result.reservations)
    elif result.status in {"expired", "not_active"}:
        raise ended(OF_STATUS[result.status], stored_json(result.reservations[0], result.now_ms))
    elif result.status == "unknown_reservation":
        confirmed = await _confirmed_before(services, caller, ids, body.order_id)
    else:
        raise Problem(OF_STATUS[result.status])
    ledger = await orders.ledger_of(services.database, body.order_id)
    wanted = set(ids)
    rows = [row for row in ledger.transactions if row.reservation_id in wanted] if ledger else []
    return OrderView(
        body.order_id,
        "COMPLETED",
        [reservation_view(one, result.now_ms) for one in confirmed],
        [transaction_view(row) for row in rows],
    )


async def _confirmed_before(services: Services, caller: Caller, ids: list[str], order_id: str) -> list[Reservation]:
    """The reservations, if each has become this order already, be it so long ago that only Postgres remembers.

    Raises the problem of the first that has not. One that is unknown to both makes the whole event unknown.
    """
    reads = [Read(*split_id(reservation_id), caller.owner) for reservation_id in ids]
    results = await services.engine.apply(reads)
    found: list[Reservation] = []
    for reservation_id, result in zip(ids, results, strict=True):
        one: Reservation | None
        if result.status == "ok":
            one = result.reservations[0]
        else:
            one = await stored_reservation(services, reservation_id, caller.owner, result.now_ms)
        if one is None:
            raise unknown_reservation()
        found.append(one)
    now_ms = results[0].now_ms
    for one in found:
        if one.status == "ACTIVE":
            # Alive, but a companion is not: nothing has been confirmed, and the companion's problem is the answer.
            continue
        if one.status != "COMPLETED" or one.order_id != order_id:
            code = "reservation-expired" if one.status == "EXPIRED" else "reservation-not-active"
            raise ended(code, stored_json(one, now_ms))
    if any(one.status == "ACTIVE" for one in found):
        raise Problem("reservation-state-unknown", "Some reservations were sold long ago, others are still held.")
    return found


async def _cancelled(services: Services, caller: Caller, order_id: str, reason: str) -> OrderView:
    state = await services.engine.journal_state()
    await wait_for_ledger(services, state.seq)
    ledger = await orders.ledger_of(services.database, order_id)
    sold = await _reservations_of(services, order_id)
    if ledger is None or not sold or (caller.owner and any(one.owner != caller.owner for one in sold)):
        raise Problem("unknown-order")
    outstanding = [(units.sku, units.outstanding) for units in ledger.units if units.outstanding]
    if outstanding and not ledger.cancelled:
        await _put_back(services, caller, order_id, outstanding, reason)
        ledger = await orders.ledger_of(services.database, order_id) or ledger
    rows = [transaction_view(row) for row in ledger.transactions if row.transaction_type == "IN"]
    now_ms = time.time_ns() // 1_000_000
    return OrderView(order_id, "CANCELLED", [reservation_view(one, now_ms) for one in sold], rows)


async def _put_back(
    services: Services, caller: Caller, order_id: str, outstanding: list[tuple[str, int]], reason: str
) -> None:
    """One IN adjustment, under an id that the order alone decides: a repeat meets it whatever its reason says."""
    for part, offset in enumerate(range(0, len(outstanding), MAX_LINES)):
        some = outstanding[offset : offset + MAX_LINES]
        command = Adjust(
            base=derived_base("order.cancelled", "", order_id if part == 0 else f"{order_id}\n{part}"),
            lines=tuple((sku, "add", min(units, MAX_QUANTITY)) for sku, units in some),
            transaction_type="IN",
            reason=reason,
            reference_type="Order",
            reference_id=order_id,
            actor=caller.id,
            fingerprint=fingerprint(order_id.encode()),
        )
        result = await services.engine.execute(command)
        if result.status not in {"ok", "replayed"}:
            raise refusal(result)
        await wait_for_ledger(services, result.seq)


async def _reservations_of(services: Services, order_id: str) -> list[Reservation]:
    """Every reservation of the order, oldest first."""
    found: list[Reservation] = []
    cursor: str | None = None
    while True:
        page = await reservations.page(
            services.database, reservations.ReservationFilter(order_id=order_id), 500, cursor
        )
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found[::-1]
