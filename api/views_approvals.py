"""Approvals and audit rows as the structs that go out. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from api.schemas.approvals import ApprovalView, AuditView
from api.schemas.shop import Line
from api.views import timestamp_of, transaction_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persistence.queries.admin_audit import AuditedRequest
    from persistence.queries.approvals import Approval
    from persistence.queries.transactions import Transaction


def approval_view(approval: Approval, transactions: Sequence[Transaction] | None = None) -> ApprovalView:
    """An approval; with the ledger rows it made, where they are asked for."""
    return ApprovalView(
        id=approval.id,
        status=approval.status,
        kind=approval.kind,
        lines=[Line(sku, units) for sku, units in approval.lines],
        reference=approval.reference or None,
        difference=approval.difference,
        units=approval.units,
        reason=approval.reason,
        requested_by=approval.requested_by,
        requested_by_name=approval.requested_by_name,
        requested_at=timestamp_of(approval.requested_at),
        expires_at=timestamp_of(approval.expires_at),
        decided_by=approval.decided_by,
        decided_by_name=approval.decided_by_name,
        decided_at=None if approval.decided_at is None else timestamp_of(approval.decided_at),
        decision_reason=approval.decision_reason,
        transactions=UNSET if transactions is None else [transaction_view(row) for row in transactions],
    )


def audit_view(row: AuditedRequest) -> AuditView:
    """A row of the admin audit."""
    return AuditView(
        id=row.id,
        at=timestamp_of(row.at),
        key_id=row.key_id,
        key_name=row.key_name,
        role=row.role,
        action=row.action,
        method=row.method,
        route=row.route,
        target=row.target,
        request_id=row.request_id,
        idempotency_key=row.idempotency_key,
        status=row.status,
        code=row.code,
        duration_ms=row.duration_ms,
    )
