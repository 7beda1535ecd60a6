"""/inventory/alerts: what is or was low or out, and resolving it by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.hot.decode import check_sku
from api.hot.respond import timestamp
from api.openapi import operation
from api.requests import Cursor, Limit, Reader, ServicesDep, StockChanger, TextFilter, json_answer
from api.schemas.alerts import AlertList, AlertView
from inventory.alerts.alert_desk import MAX_ID, AlertNow, list_alerts, resolve
from persistence.queries.alerts import AlertFilter, AlertStatus

router = APIRouter(prefix="/inventory/alerts", tags=["alerts"])


@router.get("", summary="Alerts of low and sold-out stock", **operation({200: AlertList}, "invalid-cursor"))
async def get_alerts(  # noqa: PLR0917
    services: ServicesDep,
    caller: Reader,
    status: AlertStatus | None = None,
    sku: TextFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first. PENDING: nobody was told yet; NOTIFIED: a webhook or a mail has told of it; RESOLVED: over."""
    filters = AlertFilter(status, None if sku is None else check_sku(sku, "sku"))
    page = await list_alerts(services.inventory, filters, limit, cursor)
    return json_answer(AlertList([_view(one) for one in page.items], page.next_cursor))


@router.post("/{id}/resolve", summary="Resolve an alert", **operation({200: AlertView}, "unknown-alert"))
async def resolve_alert(
    alert_id: Annotated[int, Path(alias="id", ge=1, le=MAX_ID)], services: ServicesDep, caller: StockChanger
) -> Response:
    """Nothing more is raised for its SKU until that has recovered, or is out after having been low. Again: the same."""
    return json_answer(_view(await resolve(services.inventory, alert_id, caller.id)))


def _view(one: AlertNow) -> AlertView:
    alert = one.alert
    return AlertView(
        id=alert.id,
        sku=alert.sku,
        kind=alert.kind,
        status=alert.status,
        available=alert.available,
        low_stock_threshold=alert.threshold,
        available_now=one.available_now,
        sell_out_seconds=one.sell_out_seconds,
        raised_at=timestamp(alert.raised_ms),
        changed_at=timestamp(alert.changed_ms),
        notified_at=None if alert.notified_ms is None else timestamp(alert.notified_ms),
        resolved_at=None if alert.resolved_ms is None else timestamp(alert.resolved_ms),
        resolved_by=alert.resolved_by,
    )
