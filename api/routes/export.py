"""GET /inventory/export: the stock as a spreadsheet, streamed. Owns headers and filters; the rows are inventory's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from api.openapi import operation
from api.requests import Reader, ServicesDep, TextFilter, check_filter
from engine.limits import MAX_ON_HAND
from inventory.export import ExportFilter, ExportRow, export_rows, products_at_most
from inventory.export_files import csv_header, csv_lines, xlsx_file

router = APIRouter(prefix="/inventory", tags=["bulk"])

Format = Literal["csv", "xlsx"]
Bound = Annotated[int | None, Query(ge=0, le=MAX_ON_HAND, description="units, inclusive")]
Status = Literal["IN_STOCK", "LOW_STOCK", "OUT_OF_STOCK", "active", "inactive"]

MEDIA_TYPES: Final[dict[Format, str]] = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
EXAMPLE: Final = (
    "sku,name,category,on_hand,reserved,available,low_stock_threshold,status\r\n"
    "MUG-RED,Red mug,mugs,34,2,32,5,IN_STOCK\r\n"
)
ROWS_HEADER: Final = "Holdfast-Rows-At-Most"
"""How many rows there can be, filters on the stock not counted: for a progress bar."""


_OPERATION: Final = operation({200: None})
_OPERATION["responses"][200]["content"] = {
    MEDIA_TYPES["csv"]: {"schema": {"type": "string"}, "examples": {"csv": {"value": EXAMPLE}}},
    MEDIA_TYPES["xlsx"]: {"schema": {"type": "string", "format": "binary"}},
}


@router.get("/export", summary="The stock as a spreadsheet", **_OPERATION)
async def export(
    services: ServicesDep,
    caller: Reader,
    *,
    format: Format = "csv",
    category: TextFilter = None,
    status: Status | None = None,
    min_available: Bound = None,
    max_available: Bound = None,
) -> Response:
    """In SKU order, each row live at its own moment. A failure in the middle cuts the connection: no file ends early
    and looks whole.
    """
    filters = ExportFilter(
        category=check_filter(category, "category"),
        status=status,
        min_available=min_available,
        max_available=max_available,
    )
    inventory = services.inventory
    headers = {
        "Content-Disposition": f'attachment; filename="inventory-{datetime.now(UTC):%Y-%m-%d}.{format}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        ROWS_HEADER: str(await products_at_most(inventory, filters)),
    }
    pieces = export_rows(inventory, filters)
    if format == "csv":
        # The first piece before the first byte: while nothing is sent, a store that is away is still a 503.
        first: list[ExportRow] = await anext(pieces, [])
        return StreamingResponse(_csv(first, pieces), headers=headers, media_type=MEDIA_TYPES[format])
    async with AsyncExitStack() as open_file:
        parts = await open_file.enter_async_context(xlsx_file(pieces))
        body = _closing(parts, open_file.pop_all())
    return StreamingResponse(body, headers=headers, media_type=MEDIA_TYPES[format])


async def _csv(first: list[ExportRow], pieces: AsyncIterator[list[ExportRow]]) -> AsyncIterator[bytes]:
    yield csv_header() + csv_lines(first)
    async for rows in pieces:
        if rows:
            yield csv_lines(rows)


async def _closing(parts: AsyncIterator[bytes], file: AsyncExitStack) -> AsyncIterator[bytes]:
    async with file:
        async for part in parts:
            yield part
