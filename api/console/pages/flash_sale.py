"""A flash sale as it runs: how fast a product sells, holds against sales, and who came too late.

Owns the two looks at it, the page and its numbers as JSON; the script draws.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import Struct

from api.console.access import Reading
from api.hot.decode import check_sku
from inventory.refusals import UnknownSku
from persistence.queries import products, sales_pace, stock_history

if TYPE_CHECKING:
    from api.services import Services
    from inventory.pulse.fleet import Fleet, FleetReader

router = APIRouter(prefix="/console", include_in_schema=False)

SPANS: Final = {5: 5, 15: 15, 60: 60, 360: 300, 1440: 1200}
"""Minutes shown -> seconds that one column stands for."""
SUGGESTED: Final = 8
PACE_S: Final = 60.0
"""The pace of sales is measured over this long."""

Minutes = Annotated[int, Query(ge=1, le=1440)]
Sku = Annotated[str, Query(max_length=64)]


class Course(Struct, frozen=True):
    """A sale so far, as the ledger has it."""

    sku: str
    from_ms: int
    step_ms: int
    columns: list[tuple[int, int, int, int]]
    """(Unix ms, holds made, sales, units sold) of each stretch that had any, from its beginning on."""
    on_hand: int
    reserved: int
    available: int
    safety_stock: int
    pace: float
    """Net units sold a second, lately."""
    sell_out_s: int | None
    """At this pace the last unit that may be sold is sold in so many seconds; None: nothing is being sold."""
    lost_requests: int
    lost_units: int


@router.get("/flash-sale")
async def flash_sale_page(request: Request, visit: Reading, sku: Sku = "", minutes: Minutes = 15) -> Response:
    """The sale of one product; without one, what to choose from."""
    services = visit.services
    fleet = await _fleet(request)
    shown = min(SPANS, key=lambda span: abs(span - minutes))
    if not sku:
        selling = await stock_history.selling(services.database, SUGGESTED)
        wanted = fleet.lost_demand[:SUGGESTED]
        named = await products.by_skus(services.database, [*(one.sku for one in selling), *(one.sku for one in wanted)])
        return visit.page(
            "flash_sale_choice.html", "flash-sale", "Flash sale", selling=selling, wanted=wanted, named=named
        )
    course = await _course(services, fleet, check_sku(sku, "sku"), shown)
    return visit.page(
        "flash_sale.html",
        "flash-sale",
        f"Flash sale of {sku}",
        course=course,
        course_json=msgspec.json.encode(course).decode(),
        product=await products.get(services.database, sku),
        minutes=shown,
        spans=tuple(SPANS),
    )


@router.get("/flash-sale/course")
async def flash_sale_course(request: Request, visit: Reading, sku: Sku, minutes: Minutes = 15) -> Response:
    """The same as numbers: what the page asks for every few seconds."""
    shown = min(SPANS, key=lambda span: abs(span - minutes))
    course = await _course(visit.services, await _fleet(request), check_sku(sku, "sku"), shown)
    return Response(msgspec.json.encode(course), headers={"cache-control": "no-store"}, media_type="application/json")


async def _course(services: Services, fleet: Fleet, sku: str, minutes: int) -> Course:
    levels = await services.engine.stock_levels([sku])
    if not levels:
        raise UnknownSku((sku,))
    (level,) = levels
    step_s = SPANS[minutes]
    # From a whole step on, so that a column keeps its place while the page looks on.
    now_s = int(datetime.now(UTC).timestamp())
    since = datetime.fromtimestamp(now_s - now_s % step_s, UTC) - timedelta(minutes=minutes)
    stretches = await stock_history.sales(services.database, sku, since, step_s)
    async with services.database.transaction() as transaction:
        pace = (await sales_pace.units_a_second(transaction, [sku], PACE_S)).get(sku, 0.0)
    sellable = max(0, level.on_hand - level.safety_stock)
    lost = fleet.lost(sku)
    return Course(
        sku=sku,
        from_ms=round(since.timestamp() * 1000),
        step_ms=step_s * 1000,
        columns=[(round(one.at.timestamp() * 1000), one.holds, one.sales, one.units) for one in stretches],
        on_hand=level.on_hand,
        reserved=level.reserved,
        available=level.available,
        safety_stock=level.safety_stock,
        pace=pace,
        sell_out_s=0 if not sellable else round(sellable / pace) if pace > 0 else None,
        lost_requests=0 if lost is None else lost.requests,
        lost_units=0 if lost is None else lost.units,
    )


async def _fleet(request: Request) -> Fleet:
    reader: FleetReader = request.app.state.live.reader
    return await reader.read()
