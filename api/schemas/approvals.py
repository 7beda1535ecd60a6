"""Bodies and answers of approvals and of the admin audit, as structs: shapes and bounds, no behaviour."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from api.schemas.shop import Line, Reason, Time, TransactionView

ApprovalState = Literal["PENDING", "APPROVED", "REJECTED", "EXPIRED"]
ChangeKindName = Literal["receive", "remove", "count", "damage", "return"]


class DecisionBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Why it is approved or rejected, if that should be kept."""

    reason: Reason | UnsetType | None = UNSET


class ApprovalView(Struct, frozen=True):
    """A stock change that waits for a second person, or had one's decision."""

    id: str
    status: ApprovalState
    kind: ChangeKindName
    lines: list[Line]
    """As asked for; of a count, what was counted."""
    reference: str | None
    """`return`: the order; else what the request named."""
    difference: int | None
    """`count`: signed units that approving will move on_hand by; null for other kinds."""
    units: int
    """Moved in all, whatever the sign."""
    reason: str
    requested_by: str
    requested_by_name: str
    requested_at: Time
    expires_at: Time
    decided_by: str | None
    decided_by_name: str | None
    decided_at: Time | None
    decision_reason: str | None
    transactions: list[TransactionView] | UnsetType = UNSET
    """Ledger rows that it made; left out of lists."""


class PendingView(Struct, frozen=True):
    """More units than one person may move: nothing has moved, the change waits for approval."""

    approval: ApprovalView


class ApprovalList(Struct, frozen=True):
    """A page of approvals, newest first."""

    items: list[ApprovalView]
    next_cursor: str | None


class AuditView(Struct, frozen=True):
    """One administrative request. `status` is null while it runs, and for ever if the service died before its end."""

    id: int
    at: Time
    key_id: str
    key_name: str
    role: str
    action: str
    """Name of the operation, such as `adjust` or `approve`."""
    method: str
    route: str
    target: str | None
    """What it was about: a SKU, an order, a key, as far as the request said so."""
    request_id: str
    idempotency_key: bool
    """Whether the request carried one."""
    status: int | None
    code: str | None
    """Problem code, when it was refused."""
    duration_ms: int | None


class AuditList(Struct, frozen=True):
    """A page of administrative requests, newest first."""

    items: list[AuditView]
    next_cursor: str | None
