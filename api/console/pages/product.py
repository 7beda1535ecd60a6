"""One product: its counters live, its stock over time, who holds it, what moved it, its alerts; and making one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from api.auth import Permission
from api.console.access import Posted, Reading, ReserveForm, StockForm, Visit, visiting
from api.console.forms import Form
from api.console.pages.stock import KINDS
from api.console.rendering import url_part
from api.hot.decode import check_sku
from engine.limits import MAX_QUANTITY
from inventory.holds import release_by_hand
from inventory.products import ProductChange, put_product
from inventory.refusals import UnknownSku
from persistence.queries import alerts, products, reservations, stock_history, transactions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persistence.queries.stock_history import StockAt
    from persistence.queries.transactions import Transaction

router = APIRouter(prefix="/console", include_in_schema=False)

MOVEMENTS: Final = 20
HOLDS: Final = 12
ALERTS: Final = 5
MOMENTS: Final = 160
"""Points of the curve."""
SPANS: Final = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
Span = Literal["hour", "day", "week", "month"]
Changing = Annotated[Visit, Depends(visiting(Permission.CHANGE_STOCK))]


@router.get("/products/{sku}")
async def product_page(sku: str, visit: Reading, span: Span = "day") -> Response:
    """Everything about one SKU."""
    services = visit.services
    database = services.database
    product = await products.get(database, check_sku(sku, "sku"))
    levels = await services.engine.stock_levels([sku])
    if product is None and not levels:
        raise UnknownSku((sku,))
    until = datetime.now(UTC)
    since = until - SPANS[span]
    movements = await transactions.page(database, transactions.TransactionFilter(sku=sku), MOVEMENTS)
    held = reservations.ReservationFilter(status="ACTIVE", sku=sku)
    return visit.page(
        "product.html",
        "stock",
        sku,
        sku=sku,
        product=product,
        level=levels[0] if levels else None,
        span=span,
        spans=tuple(SPANS),
        curve=_curve(await stock_history.on_hand(database, sku, since, until, MOMENTS), movements.items),
        movements=movements,
        holds=await reservations.page(database, held, HOLDS),
        alerts=(await alerts.page(database, alerts.AlertFilter(sku=sku), ALERTS)).items,
        kinds=KINDS,
    )


@router.get("/new-product")
async def new_product_page(visit: Changing, sku: Annotated[str, Query(max_length=64)] = "") -> Response:
    """The form for a product that is not there yet."""
    return visit.page("new_product.html", "stock", "New product", sku=sku)


@router.post("/new-product")
async def make_product(posted: StockForm) -> Response:
    """Make it, with the stock it begins with. An SKU that is there already is told, not changed."""
    form = posted.form
    sku = form.sku()
    if await products.get(posted.services.database, sku) is not None:
        return posted.go(product_path(sku), f"{sku} was there already. Nothing was changed.", "bad")
    change = _change(form, sku, form.number_or("initial_stock", 0, most=MAX_QUANTITY))
    await put_product(posted.services.inventory, change, posted.viewer.caller.id)
    return posted.go(product_path(sku), f"{sku} is in the catalogue.")


@router.post("/products/{sku}")
async def change_product(sku: str, posted: StockForm) -> Response:
    """Name, category, thresholds, and whether it is sold."""
    change = _change(posted.form, check_sku(sku, "sku"), 0)
    await put_product(posted.services.inventory, change, posted.viewer.caller.id)
    return posted.go(product_path(sku), f"{sku} was saved.")


@router.post("/products/{sku}/holds/{reservation_id}/release")
async def release(sku: str, reservation_id: str, posted: ReserveForm) -> Response:
    """Give a customer's hold back: its units can be sold again at once."""
    check_sku(sku, "sku")
    released = await release_by_hand(posted.services.inventory, reservation_id, posted.viewer.caller.id)
    await _caught_up(posted)
    return posted.go(product_path(sku), f"The hold of {released.customer_id} was released.")


def product_path(sku: str) -> str:
    """The page of a product."""
    return f"/console/products/{url_part(sku)}"


async def _caught_up(posted: Posted) -> None:
    """Let the ledger hear of it first: the list of holds that is shown next comes from there."""
    await posted.services.inventory.caught_up()


def _change(form: Form, sku: str, initial_stock: int) -> ProductChange:
    status = form.text("status") or "active"
    return ProductChange(
        sku=sku,
        name=form.needed("name"),
        category=form.text("category") or False,
        low_stock_threshold=form.number_or("low_stock_threshold", 0),
        safety_stock=form.number_or("safety_stock", 0),
        status="inactive" if status == "inactive" else "active",
        initial_stock=initial_stock,
    )


def _curve(moments: Sequence[StockAt], movements: Sequence[Transaction]) -> str:
    """[[Unix ms, units on hand], ...] as JSON: evenly spaced moments, and the latest movements as they were."""
    points = {round(one.at.timestamp() * 1000): one.on_hand for one in moments}
    first = min(points)
    # Newest first: of several in one millisecond the last one's balance stands.
    for row in reversed(movements):
        at_ms = round(row.created_at.timestamp() * 1000)
        if at_ms >= first:
            points[at_ms] = row.new_stock
    return msgspec.json.encode(sorted(points.items())).decode()
