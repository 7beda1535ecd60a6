"""/inventory/products: the catalogue. Settings that decide about stock go to the engine as well as to Postgres."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET, UnsetType

from api.hot.decode import check_sku, check_text
from api.openapi import operation
from api.problems import Problem
from api.requests import (
    Cursor,
    Limit,
    Reader,
    ServicesDep,
    StockChanger,
    TextFilter,
    check_filter,
    json_answer,
    read_json,
)
from api.schemas.shop import ProductBody, ProductList, ProductState, ProductView
from api.views import product_view
from inventory import products as catalogue
from persistence.queries import products

router = APIRouter(prefix="/inventory/products", tags=["products"])

T = TypeVar("T")

_BODY: Final = msgspec.json.Decoder(ProductBody)


def _given(value: T | UnsetType) -> T | None:
    """None for what was left out."""
    return None if value is UNSET else value


@router.put(
    "/{sku}",
    summary="Make or change a product",
    **operation({201: ProductView, 200: ProductView}, "stock-limit", "durability-unknown", body=ProductBody),
)
async def put_product(sku: str, request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """201 when the product is new, 200 when it was there. Repeating the request is safe."""
    check_sku(sku, "sku")
    body = await read_json(request, _BODY)
    check_text(body.name, "$.name")
    if body.category is not UNSET and body.category is not None:
        check_text(body.category, "$.category")
    product, created = await catalogue.put_product(
        services.inventory,
        catalogue.ProductChange(
            sku=sku,
            name=body.name,
            category=False if body.category is None else _given(body.category),
            low_stock_threshold=_given(body.low_stock_threshold),
            safety_stock=_given(body.safety_stock),
            status=_given(body.status),
            initial_stock=_given(body.initial_stock) or 0,
        ),
        caller.id,
    )
    return json_answer(product_view(product), 201 if created else 200)


@router.get("", summary="List products", **operation({200: ProductList}, "invalid-cursor"))
async def list_products(  # noqa: PLR0917
    services: ServicesDep,
    caller: Reader,
    category: TextFilter = None,
    status: ProductState | None = None,
    q: Annotated[str | None, Query(max_length=255, description="part of the SKU or the name")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """By SKU."""
    page = await products.page(
        services.database,
        products.ProductFilter(check_filter(category, "category"), status, check_filter(q, "q")),
        limit,
        cursor,
    )
    return json_answer(ProductList([product_view(product) for product in page.items], page.next_cursor))


@router.get("/{sku}", summary="Look at a product", **operation({200: ProductView}, "unknown-sku"))
async def get_product(sku: str, services: ServicesDep, caller: Reader) -> Response:
    """Its catalogue row; its stock is at `/status`."""
    product = await products.get(services.database, check_sku(sku, "sku"))
    if product is None:
        raise Problem("unknown-sku", "", {"skus": [sku]})
    return json_answer(product_view(product))
