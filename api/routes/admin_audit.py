"""GET /admin/audit: who used which key for what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.openapi import operation
from api.requests import Cursor, Limit, Reader, ServicesDep, TextFilter, check_filter, json_answer
from api.routes.ledger import Moment, moment
from api.schemas.approvals import AuditList
from api.views_approvals import audit_view
from persistence.queries import admin_audit

router = APIRouter(prefix="/admin/audit", tags=["admin"])


@router.get("", summary="List administrative requests", **operation({200: AuditList}, "invalid-cursor"))
async def list_audit(  # noqa: PLR0917
    services: ServicesDep,
    caller: Reader,
    key_id: TextFilter = None,
    action: TextFilter = None,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Every request that could change something, by any key but a storefront's, refused ones too; newest first.

    `from` is included, `to` is not.
    """
    filters = admin_audit.AuditFilter(
        check_filter(key_id, "key_id"), check_filter(action, "action"), moment(since, "from"), moment(until, "to")
    )
    page = await admin_audit.page(services.database, filters, limit, cursor)
    return json_answer(AuditList([audit_view(row) for row in page.items], page.next_cursor))
