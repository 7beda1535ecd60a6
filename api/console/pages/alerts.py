"""Alerts: what runs low or has run out, resolving by hand, and the threshold below which a SKU is low.

Owns no rule of when an alert opens: that is inventory/alerts.
"""

from __future__ import annotations

from typing import Final, cast, get_args

from fastapi import APIRouter, Response

from api.audit import audit_target
from api.console.access import Reading, StockForm
from api.console.forms import Form
from inventory.alerts.alert_desk import list_alerts, resolve
from inventory.products import ProductChange, put_product
from inventory.refusals import UnknownAlert, UnknownSku
from persistence.queries import products
from persistence.queries.alerts import AlertFilter, AlertStatus
from persistence.queries.api_keys import ApiKeys

router = APIRouter(prefix="/console/alerts", include_in_schema=False)

PAGE: Final = 50
MAX_DIGITS: Final = 19
"""Of an alert's id."""
STATES: Final[tuple[str, ...]] = get_args(AlertStatus)


@router.get("")
async def alerts_page(visit: Reading) -> Response:
    """Newest first. `status` and `sku` filter."""
    query = Form(dict(visit.request.query_params))
    state = query.one_of("status", ("ALL", *STATES)) if query.text("status") else "ALL"
    sku = query.sku() if query.text("sku") else None
    cursor = query.text("cursor", most=2_000) or None
    filters = AlertFilter(None if state == "ALL" else cast("AlertStatus", state), sku)
    database = visit.services.database
    page = await list_alerts(visit.services.inventory, filters, PAGE, cursor)
    found = await products.by_skus(database, sorted({one.alert.sku for one in page.items}))
    names = await ApiKeys(database).names(one.alert.resolved_by for one in page.items if one.alert.resolved_by)
    return visit.page(
        "alerts.html",
        "alerts",
        "Alerts",
        alerts=page.items,
        products=found,
        names=names,
        state=state,
        states=STATES,
        sku=sku or "",
        cursor=cursor,
        next_cursor=page.next_cursor,
    )


@router.post("/{alert_id}/resolve")
async def resolve_alert(alert_id: str, posted: StockForm) -> Response:
    """Nothing more is told of this SKU until it has recovered or become worse."""
    if not alert_id.isascii() or not alert_id.isdigit() or len(alert_id) > MAX_DIGITS:
        raise UnknownAlert
    done = await resolve(posted.services.inventory, int(alert_id), posted.viewer.caller.id)
    return posted.go("/console/alerts", f"The alert of {done.alert.sku} is resolved.")


@router.post("/threshold")
async def set_threshold(posted: StockForm) -> Response:
    """Below how many available units a SKU counts as low; 0: never."""
    sku = posted.form.sku()
    threshold = posted.form.number("threshold")
    audit_target(posted.request, sku)
    inventory = posted.services.inventory
    product = (await products.by_skus(inventory.database, [sku])).get(sku)
    if product is None:
        raise UnknownSku((sku,))
    change = ProductChange(sku=sku, name=product.name, low_stock_threshold=threshold)
    await put_product(inventory, change, posted.viewer.caller.id)
    told = f"{sku} is low below {threshold:,} units from now on." if threshold else f"{sku} is never low from now on."
    return posted.go("/console/alerts", told)
