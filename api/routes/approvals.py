"""/inventory/approvals: large stock changes that wait for a second person, and the decisions about them."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import UNSET

from api.openapi import operation
from api.requests import (
    Approver,
    Cursor,
    Limit,
    Reader,
    ServicesDep,
    check_filter,
    check_reason,
    json_answer,
    read_json,
)
from api.schemas.approvals import ApprovalList, ApprovalState, ApprovalView, DecisionBody
from api.views_approvals import approval_view
from inventory import approvals
from persistence.queries import approvals as rows

router = APIRouter(prefix="/inventory/approvals", tags=["approvals"])

_BODY: Final = msgspec.json.Decoder(DecisionBody)
_DECIDED: Final = ("unknown-approval", "self-approval", "approval-decided", "approval-expired", "durability-unknown")
_REFUSED: Final = ("insufficient-stock", "return-exceeds-order", "stock-limit", "unknown-sku")

ApprovalId = Annotated[str, Path(max_length=64, examples=["apr_5d0c1f2a9be07d33"])]


@router.get("", summary="List approvals", **operation({200: ApprovalList}, "invalid-cursor"))
async def list_approvals(
    services: ServicesDep,
    caller: Reader,
    status: Annotated[ApprovalState | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first."""
    page = await rows.page(services.database, status, limit, cursor)
    return json_answer(ApprovalList([approval_view(approval) for approval in page.items], page.next_cursor))


@router.get("/{approval_id}", summary="Look at an approval", **operation({200: ApprovalView}, "unknown-approval"))
async def get_approval(approval_id: ApprovalId, services: ServicesDep, caller: Reader) -> Response:
    """With the ledger rows that it made, once it was approved."""
    found = await approvals.find(services.inventory, check_filter(approval_id, "approval_id") or "")
    return json_answer(approval_view(found.approval, found.transactions))


@router.post(
    "/{approval_id}/approve",
    summary="Approve a stock change",
    **operation({200: ApprovalView}, *_DECIDED, *_REFUSED, body=DecisionBody, body_required=False),
)
async def approve(approval_id: ApprovalId, request: Request, services: ServicesDep, caller: Approver) -> Response:
    """Makes the change against the stock of this moment; one that cannot be made leaves it PENDING."""
    check_filter(approval_id, "approval_id")
    decision = await approvals.approve(services.inventory, approval_id, caller.id, await _reason(request))
    return json_answer(approval_view(decision.approval, decision.transactions))


@router.post(
    "/{approval_id}/reject",
    summary="Reject a stock change",
    **operation({200: ApprovalView}, *_DECIDED, body=DecisionBody, body_required=False),
)
async def reject(approval_id: ApprovalId, request: Request, services: ServicesDep, caller: Approver) -> Response:
    """Nothing moves, now or later."""
    check_filter(approval_id, "approval_id")
    decision = await approvals.reject(services.inventory, approval_id, caller.id, await _reason(request))
    return json_answer(approval_view(decision.approval, decision.transactions))


async def _reason(request: Request) -> str | None:
    """What the body gives as the reason; it may give none, and there may be no body."""
    if not await request.body():
        return None
    body = await read_json(request, _BODY)
    return None if body.reason is UNSET or body.reason is None else check_reason(body.reason)
