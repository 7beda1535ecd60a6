"""Live stock: one product's status, what is low, what is out. Read from the counters, named from the catalogue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from api.hot.decode import check_sku
from api.hot.respond import timestamp
from api.openapi import operation
from api.problems import Problem
from api.requests import Cursor, Limit, Reader, ServicesDep, json_answer
from api.schemas.shop import StockStatusList, StockStatusView
from api.views import stock_status_view
from inventory.stock_lists import list_stock
from persistence.queries import products

if TYPE_CHECKING:
    from api.services import Services
    from persistence.queries.stock_lists import StockList

router = APIRouter(prefix="/inventory", tags=["stock"])


@router.get("/low-stock", summary="What is running low", **operation({200: StockStatusList}, "invalid-cursor"))
async def low_stock(services: ServicesDep, caller: Reader, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """0 < available < threshold, lowest first."""
    return await _listing(services, "low", limit, cursor)


@router.get("/out-of-stock", summary="What has run out", **operation({200: StockStatusList}, "invalid-cursor"))
async def out_of_stock(services: ServicesDep, caller: Reader, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Nothing available."""
    return await _listing(services, "out", limit, cursor)


@router.get("/products/{sku}/status", summary="A product's stock", **operation({200: StockStatusView}, "unknown-sku"))
async def product_status(sku: str, services: ServicesDep, caller: Reader) -> Response:
    """Live from the counters."""
    return await _status(sku, services)


@router.get("/{sku}/status", summary="A product's stock", **operation({200: StockStatusView}, "unknown-sku"))
async def sku_status(sku: str, services: ServicesDep, caller: Reader) -> Response:
    """The same under a shorter path."""
    return await _status(sku, services)


async def _status(sku: str, services: Services) -> Response:
    levels = await services.engine.stock_levels([check_sku(sku, "sku")])
    if not levels:
        raise Problem("unknown-sku", "", {"skus": [sku]})
    product = await products.get(services.database, sku)
    return json_answer(stock_status_view(levels[0], product, _now()))


async def _listing(services: Services, which: StockList, limit: int, cursor: str | None) -> Response:
    page = await list_stock(services.inventory, which, limit, cursor)
    named = await products.by_skus(services.database, [level.sku for level in page.items])
    as_of = _now()
    items = [stock_status_view(level, named.get(level.sku), as_of) for level in page.items]
    return json_answer(StockStatusList(items, page.next_cursor))


def _now() -> str:
    return timestamp(time.time_ns() // 1_000_000)
