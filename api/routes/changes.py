"""Adjust, damage and return: stock changed by hand. Each answers with its ledger rows, once they are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from api.audit import audit_target
from api.hot.decode import check_sku, check_text
from api.openapi import IDEMPOTENCY_KEY, operation
from api.requests import ServicesDep, StockChanger, check_reason, idempotency_key, json_answer, read_json
from api.schemas.approvals import PendingView
from api.schemas.shop import AdjustBody, DamageBody, ReturnBody, ReturnView, TransactionView
from api.views import transaction_view
from api.views_approvals import approval_view
from inventory.stock_changes import StockChange, change_stock
from persistence.queries.approvals import Approval

if TYPE_CHECKING:
    from api.services import Services

router = APIRouter(prefix="/inventory", tags=["stock changes"])

_ADJUST: Final = msgspec.json.Decoder(AdjustBody)
_DAMAGE: Final = msgspec.json.Decoder(DamageBody)
_RETURN: Final = msgspec.json.Decoder(ReturnBody)
_PROBLEMS: Final = (
    "insufficient-stock",
    "unknown-sku",
    "stock-limit",
    "durability-unknown",
    "idempotency-key-reused",
    "invalid-idempotency-key",
)


@router.post(
    "/adjust",
    summary="Receive, remove or count stock",
    **operation({201: TransactionView, 202: PendingView}, *_PROBLEMS, body=AdjustBody, parameters=(IDEMPOTENCY_KEY,)),
)
async def adjust(request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """One row. A count that finds what was expected makes a row of 0, which says that somebody looked."""
    body = await read_json(request, _ADJUST)
    check_sku(body.sku, "$.sku")
    reference = "" if body.reference is UNSET or body.reference is None else body.reference
    check_text(reference, "$.reference")
    audit_target(request, body.sku)
    change = StockChange(
        kind=body.kind,
        lines=((body.sku, body.quantity),),
        reason=check_reason(body.reason),
        actor=caller.id,
        reference=reference,
        idempotency_key=idempotency_key(request),
    )
    return await _changed_one(services, change)


@router.post(
    "/damage",
    summary="Write off damaged stock",
    **operation({201: TransactionView, 202: PendingView}, *_PROBLEMS, body=DamageBody, parameters=(IDEMPOTENCY_KEY,)),
)
async def damage(request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """One DAMAGE row, negative."""
    body = await read_json(request, _DAMAGE)
    check_sku(body.sku, "$.sku")
    audit_target(request, body.sku)
    change = StockChange(
        kind="damage",
        lines=((body.sku, body.quantity),),
        reason=check_reason(body.reason),
        actor=caller.id,
        idempotency_key=idempotency_key(request),
    )
    return await _changed_one(services, change)


@router.post(
    "/return",
    summary="Take units back from an order",
    **operation(
        {201: ReturnView, 202: PendingView},
        "return-exceeds-order",
        *_PROBLEMS,
        body=ReturnBody,
        parameters=(IDEMPOTENCY_KEY,),
    ),
)
async def return_units(request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """One RETURN row a SKU, all or none; never more than the order sold and has not given back."""
    body = await read_json(request, _RETURN)
    check_text(body.order_id, "$.order_id")
    for item in body.items:
        check_sku(item.sku, "$.items[...].sku")
    audit_target(request, body.order_id)
    change = StockChange(
        kind="return",
        lines=tuple((item.sku, item.quantity) for item in body.items),
        reason=check_reason(body.reason),
        actor=caller.id,
        reference=body.order_id,
        idempotency_key=idempotency_key(request),
    )
    made = await change_stock(services.inventory, change)
    if isinstance(made, Approval):
        return _pending(made)
    return json_answer(ReturnView([transaction_view(row) for row in made]), 201)


async def _changed_one(services: Services, change: StockChange) -> Response:
    """Make a change of one SKU; its row."""
    made = await change_stock(services.inventory, change)
    return _pending(made) if isinstance(made, Approval) else json_answer(transaction_view(made[0]), 201)


def _pending(approval: Approval) -> Response:
    return json_answer(PendingView(approval_view(approval)), 202, {"location": f"/inventory/approvals/{approval.id}"})
