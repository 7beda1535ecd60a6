"""The overview: how much is going on, how fast, and whether every part is well, second by second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response

from api.console.access import Reading
from api.console.figures import PARTS, figures_of
from api.console.sessions import PATH
from inventory.stock_lists import list_stock
from persistence.queries import products

if TYPE_CHECKING:
    from inventory.pulse.fleet import FleetReader

router = APIRouter(include_in_schema=False)

SHORTEST: Final = 8
"""SKUs shown of what runs low and of what is turned away."""


@router.get("/")
async def front_door() -> Response:
    """A browser that asks for nothing in particular comes to the console."""
    return Response(status_code=303, headers={"location": PATH})


@router.get("/console")
async def overview(request: Request, visit: Reading) -> Response:
    """The figures of this moment; the script brings those that follow."""
    fleet: FleetReader = request.app.state.live.reader
    now = await fleet.read()
    figures = figures_of(now)
    low, named = [], {}
    any_product = True
    if figures.trouble["postgres"] == "" and figures.trouble["redis"] == "":
        any_product = await products.exists_any(visit.services.database)
        low = [*(await list_stock(visit.services.inventory, "low", SHORTEST)).items]
        lost = now.lost_demand[:SHORTEST]
        named = await products.by_skus(visit.services.database, [*(one.sku for one in low), *(one.sku for one in lost)])
    return visit.page(
        "overview.html",
        "overview",
        "Overview",
        figures=figures,
        parts_of_service=PARTS,
        low=low,
        lost=now.lost_demand[:SHORTEST],
        named=named,
        any_product=any_product,
    )
