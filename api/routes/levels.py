"""/inventory/levels: stock as the ledger's side has it, to be held against the live counters."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.openapi import operation
from api.requests import Cursor, Limit, Reader, ServicesDep, json_answer
from api.schemas.shop import LevelList
from api.views import level_view
from persistence.queries import levels

router = APIRouter(prefix="/inventory", tags=["ledger"])


@router.get("/levels", summary="Stock as Postgres has it", **operation({200: LevelList}, "invalid-cursor"))
async def list_levels(services: ServicesDep, caller: Reader, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """By SKU; `seq` is the last journal event that each level includes. A moment behind the counters."""
    page = await levels.page(services.database, limit, cursor)
    return json_answer(LevelList([level_view(level) for level in page.items], page.next_cursor))
