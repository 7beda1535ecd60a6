"""Products by file: a catalogue comes in as a whole or, with a mistake in any row, not at all.

Owns what a person sees of it; what a file may hold and what becomes of its rows is inventory/bulk.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response

from api.auth import Permission
from api.console.access import CSRF_FIELD, Posted, Visit, check_token, posting, visiting
from api.problems import invalid
from api.uploads import received_file
from inventory.bulk.catalogue import CatalogueImport, import_catalogue

router = APIRouter(prefix="/console/catalogue", include_in_schema=False)

ERRORS_SHOWN: Final = 200

Changing = Annotated[Visit, Depends(visiting(Permission.CHANGE_STOCK))]
Upload = Annotated[Posted, Depends(posting(Permission.CHANGE_STOCK, upload=True))]


@router.get("")
async def catalogue_page(visit: Changing) -> Response:
    """The form, and what a file may hold."""
    return _page(visit)


@router.post("")
async def bring_in(posted: Upload) -> Response:
    """Make and change the products of a file. The same file again changes nothing, so it may be sent twice."""
    inventory, caller = posted.services.inventory, posted.viewer.caller
    async with received_file(posted.request, ("once", CSRF_FIELD)) as received:
        check_token(posted.viewer, received.fields.get(CSRF_FIELD, ""))
        if received.file.seek(0, 2) == 0:
            raise invalid("the file is empty", "file")
        done = await import_catalogue(inventory, received.file, received.name, caller.id, dry_run=False)
    if done.error_count or not done.rows:
        return _page(posted, received.name, done)
    return posted.go("/console/stock", f"{received.name}: {done.created:,} made, {done.updated:,} changed.")


def _page(visit: Visit, name: str = "", done: CatalogueImport | None = None) -> Response:
    return visit.page(
        "catalogue.html",
        "stock",
        "Products from a file",
        200 if done is None else 422,
        name=name,
        done=done,
        errors=() if done is None else done.errors[:ERRORS_SHOWN],
        most_rows=visit.services.inventory.settings.import_max_rows,
        most_mb=visit.services.settings.max_upload_bytes // (1024 * 1024),
    )
