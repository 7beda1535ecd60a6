"""How the service's refusals look in HTTP: the code is the refusal's own, this adds what the contract tells with it.

Owns one table, refusal -> members of the problem document. Never decides that something is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from api.hot.respond import shortage_documents, stored_json
from api.problems import Problem, invalid
from api.views_approvals import approval_view
from inventory import refusals
from inventory.refusals import Refusal


def _reservation(refusal: refusals.ReservationExpired | refusals.ReservationNotActive) -> dict[str, Any]:
    """As every verb shows a reservation that has ended."""
    return {"reservation": msgspec.Raw(stored_json(refusal.reservation, refusal.now_ms).encode())}


_MEMBERS: Final[dict[type[Refusal], Callable[[Any], dict[str, Any]]]] = {
    refusals.EventsGone: lambda refusal: {"oldest_id": refusal.oldest_id},
    refusals.UnknownSku: lambda refusal: {"skus": list(refusal.skus)},
    refusals.ReservationExpired: _reservation,
    refusals.ReservationNotActive: _reservation,
    refusals.FileHasErrors: lambda refusal: {"errors": list(refusal.errors), "error_count": refusal.count},
    refusals.StockMoved: lambda refusal: {"rows": list(refusal.rows)},
    refusals.ReturnExceedsOrder: lambda refusal: {"items": list(refusal.items)},
    refusals.ApprovalDecided: lambda refusal: {"approval": approval_view(refusal.approval)},
    refusals.ApprovalExpired: lambda refusal: {"approval": approval_view(refusal.approval)},
    refusals.InsufficientStock: lambda refusal: {"shortages": shortage_documents(refusal.shortages)},
}


def problem_of(refusal: Refusal) -> Problem:
    """The problem document for a refusal."""
    if isinstance(refusal, refusals.InvalidRequest):
        return invalid(refusal.detail, refusal.at)
    members = _MEMBERS.get(type(refusal))
    return Problem(refusal.code, refusal.detail, members(refusal) if members else None)
