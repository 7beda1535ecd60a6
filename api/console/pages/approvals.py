"""Approvals: large stock changes that wait for a second person, and how those were decided.

Owns what a person sees before deciding: what would become of the stock if it were made now.
"""

from __future__ import annotations

from typing import Final, cast, get_args

from fastapi import APIRouter, Response
from msgspec import Struct

from api.audit import audit_target
from api.console.access import ApprovalForm, Posted, Reading
from api.console.forms import Form
from api.requests import check_filter
from inventory import approvals
from inventory.context import Inventory
from persistence.queries import approvals as rows
from persistence.queries.approvals import Approval, ApprovalStatus

router = APIRouter(prefix="/console/approvals", include_in_schema=False)

PAGE: Final = 25
STATES: Final[tuple[str, ...]] = get_args(ApprovalStatus)
LINES_SHOWN: Final = 8
_TAKES: Final = frozenset({"remove", "damage"})


class LineEffect(Struct, frozen=True):
    """One line of a change and what it would do now; units. None: the SKU has no counters, or it is decided."""

    sku: str
    change: int
    on_hand: int | None

    @property
    def after(self) -> int | None:
        """on_hand once it is made."""
        return None if self.on_hand is None else self.on_hand + self.change


class Asked(Struct, frozen=True):
    """An approval as the page shows it."""

    approval: Approval
    effects: tuple[LineEffect, ...]
    own: bool
    """The viewer asked for it, and so cannot decide."""

    @property
    def more_lines(self) -> int:
        """Lines that are not shown."""
        return len(self.approval.lines) - len(self.effects)


@router.get("")
async def approvals_page(visit: Reading) -> Response:
    """Newest first; those that wait, unless another state is asked for."""
    query = Form(dict(visit.request.query_params))
    state = query.one_of("status", ("ALL", *STATES)) if query.text("status") else "PENDING"
    wanted = None if state == "ALL" else cast("ApprovalStatus", state)
    cursor = query.text("cursor", most=2_000) or None
    inventory = visit.services.inventory
    page = await rows.page(inventory.database, wanted, PAGE, cursor)
    return visit.page(
        "approvals.html",
        "approvals",
        "Approvals",
        requests=await _shown(inventory, page.items, visit.viewer.caller.id),
        state=state,
        states=STATES,
        cursor=cursor,
        next_cursor=page.next_cursor,
        limit_units=inventory.settings.approval_units,
    )


@router.post("/{approval_id}/approve")
async def approve(approval_id: str, posted: ApprovalForm) -> Response:
    """Make the change against the stock of this moment."""
    decision = await approvals.approve(
        posted.services.inventory, _checked(posted, approval_id), posted.viewer.caller.id, _reason(posted)
    )
    return posted.go("/console/approvals", f"Approved: {_told(decision.approval)}. The stock has moved.")


@router.post("/{approval_id}/reject")
async def reject(approval_id: str, posted: ApprovalForm) -> Response:
    """Turn it down."""
    decision = await approvals.reject(
        posted.services.inventory, _checked(posted, approval_id), posted.viewer.caller.id, _reason(posted)
    )
    return posted.go("/console/approvals", f"Rejected: {_told(decision.approval)}. Nothing has moved.")


async def _shown(inventory: Inventory, found: tuple[Approval, ...], viewer: str) -> list[Asked]:
    skus = {sku for one in found if one.status == "PENDING" for sku, _ in one.lines[:LINES_SHOWN]}
    levels = await inventory.engine.stock_levels(sorted(skus)) if skus else []
    on_hand = {level.sku: level.on_hand for level in levels}
    return [
        Asked(
            one,
            tuple(
                LineEffect(sku, _change(one, units), on_hand.get(sku) if one.status == "PENDING" else None)
                for sku, units in one.lines[:LINES_SHOWN]
            ),
            own=one.requested_by == viewer,
        )
        for one in found
    ]


def _change(approval: Approval, units: int) -> int:
    """What this line does to on_hand."""
    if approval.difference is not None:
        return approval.difference
    return -units if approval.kind in _TAKES else units


def _checked(posted: Posted, approval_id: str) -> str:
    check_filter(approval_id, "approval_id")
    audit_target(posted.request, approval_id)
    return approval_id


def _reason(posted: Posted) -> str | None:
    """Why, if it was said."""
    return posted.form.reason() if posted.form.text("reason", most=500) else None


def _told(approval: Approval) -> str:
    sku = approval.lines[0][0]
    more = f" and {len(approval.lines) - 1} more" if len(approval.lines) > 1 else ""
    return f"{approval.kind} of {approval.units:,} units, {sku}{more}"
