"""Imports: a file of counts or deliveries comes in, is shown as a diff, applied as a whole, and taken back.

Owns what a person sees of it; what a file may hold and what applying does is inventory/bulk.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response
from msgspec import Struct

from api.auth import Permission
from api.console.access import CSRF_FIELD, Posted, Reading, StockForm, Visit, check_token, posting
from api.console.forms import Form
from api.problems import KINDS, invalid
from api.requests import check_reason, json_answer
from api.routes.bulk import change_view, checked_import_id, only_of
from api.uploads import received_file
from inventory.bulk import imports
from persistence.queries.api_keys import ApiKeys
from persistence.queries.imports import WORKING, Import, ImportStatus

router = APIRouter(prefix="/console/imports", include_in_schema=False)

PAGE: Final = 25
ROWS_SHOWN: Final = 200
ERRORS_SHOWN: Final = 200
WAIT_S: Final = 2.0
"""How long a form waits for a large file before the page shows how far it has come."""
SHOWN_STATUS: Final[dict[ImportStatus, tuple[str, str]]] = {
    "PREVIEWING": ("being read", "busy"),
    "PREVIEW": ("waits to be applied", "open"),
    "EXPIRED": ("preview expired", "over"),
    "APPLYING": ("being applied", "busy"),
    "UNDOING": ("being undone", "busy"),
    "APPLIED": ("applied", "good"),
    "REVERTING": ("being reverted", "busy"),
    "RESTORING": ("being restored", "busy"),
    "REVERTED": ("reverted", "over"),
    "FAILED": ("failed", "bad"),
}

Upload = Annotated[Posted, Depends(posting(Permission.CHANGE_STOCK, upload=True))]


class Progress(Struct, frozen=True):
    """How far the step under way has come."""

    status: str
    told: str
    share: float
    """0 to 1."""
    working: bool


@router.get("")
async def imports_page(visit: Reading) -> Response:
    """The form, and what was imported before, newest first; an operator sees their own."""
    query = Form(dict(visit.request.query_params))
    cursor = query.text("cursor", most=2_000) or None
    inventory = visit.services.inventory
    page = await imports.page(inventory, only_of(visit.viewer.caller), PAGE, cursor)
    names = await ApiKeys(inventory.database).names(one.created_by for one in page.items)
    return visit.page(
        "imports.html",
        "imports",
        "Imports",
        imports=page.items,
        names=names,
        shown=SHOWN_STATUS,
        working=WORKING,
        cursor=cursor,
        next_cursor=page.next_cursor,
        most_rows=inventory.settings.import_max_rows,
        most_mb=visit.services.settings.max_upload_bytes // (1024 * 1024),
    )


@router.post("")
async def upload(posted: Upload) -> Response:
    """Make a preview of a file; nothing moves."""
    services = posted.services
    async with received_file(posted.request, ("mode", "reason", "once", CSRF_FIELD)) as received:
        form = Form(received.fields)
        check_token(posted.viewer, received.fields.get(CSRF_FIELD, ""))
        mode = form.one_of("mode", ("set", "add"))
        wanted = imports.Upload(
            file=received.file,
            name=received.name,
            mode="set" if mode == "set" else "add",
            reason=check_reason(form.text("reason", most=500)),
            caller=posted.viewer.caller.id,
            key=form.once(),
        )
        if received.file.seek(0, 2) == 0:
            raise invalid("the file is empty", "file")
        imported = await imports.upload(services.inventory, services.jobs, wanted, WAIT_S)
    return posted.go(f"/console/imports/{imported.id}", _previewed(imported), "bad" if imported.error_count else "good")


@router.get("/{import_id}")
async def import_page(import_id: str, visit: Reading) -> Response:
    """One import: what is wrong with its file, what it changes, and what can be done with it now."""
    query = Form(dict(visit.request.query_params))
    cursor = query.text("cursor", most=2_000) or None
    inventory = visit.services.inventory
    found = await imports.changes(
        inventory, checked_import_id(import_id), only_of(visit.viewer.caller), ROWS_SHOWN, cursor
    )
    imported = found.imported
    failure = imported.failure
    return visit.page(
        "import.html",
        "imports",
        imported.file_name,
        imported=imported,
        progress=progress_of(imported),
        changes=[change_view(imported, row) for row in found.rows.items],
        errors=imported.errors[:ERRORS_SHOWN],
        failure=failure,
        failure_told="" if failure is None else failure.detail or KINDS[failure.code].title,
        names=await ApiKeys(inventory.database).names([imported.created_by]),
        style=SHOWN_STATUS[imported.status][1],
        cursor=cursor,
        next_cursor=found.rows.next_cursor,
    )


@router.get("/{import_id}/progress")
async def import_progress(import_id: str, visit: Reading) -> Response:
    """The same as JSON, for the page that waits."""
    found = await imports.get(visit.services.inventory, checked_import_id(import_id), only_of(visit.viewer.caller))
    return json_answer(progress_of(found), headers={"cache-control": "no-store"})


@router.post("/{import_id}/apply")
async def apply(import_id: str, posted: StockForm) -> Response:
    """All rows or none. `force`: although the stock has changed since the preview."""
    imported = await imports.apply(
        posted.services.inventory,
        posted.services.jobs,
        checked_import_id(import_id),
        only_of(posted.viewer.caller),
        caller=posted.viewer.caller.id,
        force=bool(posted.form.text("force")),
        wait_s=WAIT_S,
    )
    told = f"Applied: {_count(imported.changed, 'row')} changed the stock." if imported.status == "APPLIED" else ""
    return _step(posted, imported, told or "Being applied; this page shows how far it has come.")


@router.post("/{import_id}/revert")
async def revert(import_id: str, posted: StockForm) -> Response:
    """Opposite rows for everything that was applied."""
    imported = await imports.revert(
        posted.services.inventory,
        posted.services.jobs,
        checked_import_id(import_id),
        only_of(posted.viewer.caller),
        caller=posted.viewer.caller.id,
        wait_s=WAIT_S,
    )
    told = f"Reverted: {_count(imported.changed, 'row')} taken back." if imported.status == "REVERTED" else ""
    return _step(posted, imported, told or "Being reverted; this page shows how far it has come.")


def progress_of(imported: Import) -> Progress:
    """Of the step under way; 1 when there is none."""
    working = imported.status in WORKING
    share = imported.done / max(1, imported.changed) if working else 1.0
    return Progress(imported.status, SHOWN_STATUS[imported.status][0], round(share, 4), working)


def _step(visit: Visit, imported: Import, told: str) -> Response:
    return visit.go(f"/console/imports/{imported.id}", told)


def _previewed(imported: Import) -> str:
    if imported.status == "PREVIEWING":
        return f"{imported.file_name} is being read; this page shows how far it has come."
    if imported.error_count:
        mistakes = _count(imported.error_count, "mistake")
        return f"{mistakes} in {imported.file_name}. Put them right and upload it again; nothing has moved."
    return f"{imported.file_name} would change {_count(imported.changed, 'SKU')}. Nothing has moved yet."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
