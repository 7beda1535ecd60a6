"""/inventory/bulk-update and /inventory/products/import: stock and catalogue changed by file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import Struct, structs

from api.auth import Caller
from api.openapi import IDEMPOTENCY_KEY, operation
from api.problems import KINDS, invalid
from api.requests import (
    Cursor,
    Limit,
    Reader,
    ServicesDep,
    StockChanger,
    check_reason,
    idempotency_key,
    json_answer,
)
from api.schemas.bulk import (
    CatalogueImportView,
    ChangeList,
    ChangeView,
    ImportFailureView,
    ImportList,
    ImportSummary,
    ImportView,
)
from api.services import Services
from api.uploads import FORM, form_body, received_file
from api.views import timestamp_of
from inventory.bulk import imports
from inventory.bulk.catalogue import import_catalogue
from inventory.refusals import FileHasErrors, UnknownImport
from persistence.pages import MAX_LIMIT
from persistence.queries.import_rows import ImportRow
from persistence.queries.imports import WORKING, Import

router = APIRouter(tags=["bulk"])
stock_router = APIRouter(prefix="/inventory/bulk-update")
catalogue_router = APIRouter(prefix="/inventory/products")

MAX_WAIT_S: Final = 60.0
_IMPORT_ID = re.compile(r"imp_[0-9a-f]{24}\Z")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,4})(?:$|[,;\s])")

ImportId = Annotated[str, Path(max_length=64, description="`imp_` and 24 hex digits")]
PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N`: seconds to wait for a large file; `respond-async`: do not wait.",
    "schema": {"type": "string", "maxLength": 200, "pattern": "^[ -~]+$"},
}
_APPLY_PROBLEMS: Final = (
    "unknown-import",
    "import-not-ready",
    "import-ended",
    "insufficient-stock",
    "stock-limit",
    "unknown-sku",
    "durability-unknown",
)


def _uploaded() -> dict[str, Any]:
    described = operation(
        {201: ImportView},
        "unsupported-file",
        "too-many-rows",
        "idempotency-key-reused",
        "invalid-idempotency-key",
        *FORM,
        parameters=(IDEMPOTENCY_KEY, PREFER),
    )
    reason = {"type": "string", "minLength": 3, "maxLength": 500, "description": "kept in the ledger"}
    mode = {"enum": ["set", "add"], "description": "`set` makes on_hand the quantity, `add` adds it"}
    described["openapi_extra"]["requestBody"] = form_body(
        {"mode": mode, "reason": reason},
        ["mode", "reason"],
        {"file": "sku,quantity\nTEAPOT,40\n", "mode": "set", "reason": "monthly count"},
    )
    return described


def _catalogue() -> dict[str, Any]:
    described = operation(
        {200: CatalogueImportView},
        "unsupported-file",
        "too-many-rows",
        "preview-has-errors",
        "stock-limit",
        "durability-unknown",
        *FORM,
    )
    described["openapi_extra"]["requestBody"] = form_body(
        {}, [], {"file": "sku,name,category\nTEAPOT,Teapot,kitchen\n"}
    )
    return described


@stock_router.post("", summary="Upload a stock file and see what it would change", **_uploaded())
async def upload_stock(request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """Nothing moves. Columns `sku`, `quantity` (or `on_hand`), optional `note`; others are passed over.

    A large file is read by a background job; if that takes longer than the request waits, the status is PREVIEWING.
    """
    key = idempotency_key(request)
    async with received_file(request, ("mode", "reason")) as received:
        mode = received.fields.get("mode")
        if mode not in {"set", "add"}:
            raise invalid("must be set or add", "mode")
        reason = received.fields.get("reason", "")
        if len(reason) > 500:
            raise invalid("at most 500 characters", "reason")
        wanted = imports.Upload(
            file=received.file,
            name=received.name,
            mode="set" if mode == "set" else "add",
            reason=check_reason(reason),
            caller=caller.id,
            key=key,
        )
        imported = await imports.upload(services.inventory, services.jobs, wanted, _wait_s(request, services))
    return json_answer(await _view(services, imported), 201)


@stock_router.get("", summary="List bulk imports", **operation({200: ImportList}, "invalid-cursor"))
async def list_imports(services: ServicesDep, caller: Reader, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Newest first; an operator sees those it made."""
    page = await imports.page(services.inventory, only_of(caller), limit, cursor)
    return json_answer(ImportList([_summary(imported) for imported in page.items], page.next_cursor))


@stock_router.get("/{import_id}", summary="Look at a bulk import", **operation({200: ImportView}, "unknown-import"))
async def get_import(import_id: ImportId, services: ServicesDep, caller: Reader) -> Response:
    """What it is, how far it has come, what is wrong with its file and what it changes."""
    return json_answer(
        await _view(services, await imports.get(services.inventory, checked_import_id(import_id), only_of(caller)))
    )


@stock_router.get(
    "/{import_id}/changes",
    summary="What a bulk import changes",
    **operation({200: ChangeList}, "unknown-import", "invalid-cursor"),
)
async def list_changes(
    import_id: ImportId, services: ServicesDep, caller: Reader, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """In the order of the file; rows that change nothing are left out."""
    found = await imports.changes(services.inventory, checked_import_id(import_id), only_of(caller), limit, cursor)
    changes = [change_view(found.imported, row) for row in found.rows.items]
    return json_answer(ChangeList(changes, found.rows.next_cursor))


@stock_router.post(
    "/{import_id}/apply",
    summary="Apply a bulk import",
    **operation(
        {200: ImportSummary, 202: ImportSummary},
        *_APPLY_PROBLEMS,
        "preview-has-errors",
        "preview-expired",
        "stock-moved",
        parameters=(PREFER,),
    ),
)
async def apply_import(
    import_id: ImportId,
    request: Request,
    services: ServicesDep,
    caller: StockChanger,
    force: Annotated[bool, Query(description="apply although the stock has changed since the preview")] = False,
) -> Response:
    """All rows or none, answered once the ledger has them. 202: a large file is still under way; look, or ask again."""
    imported = await imports.apply(
        services.inventory,
        services.jobs,
        checked_import_id(import_id),
        only_of(caller),
        caller=caller.id,
        force=force,
        wait_s=_wait_s(request, services),
    )
    return _step_answer(imported)


@stock_router.post(
    "/{import_id}/revert",
    summary="Revert a bulk import",
    **operation({200: ImportSummary, 202: ImportSummary}, *_APPLY_PROBLEMS, "import-not-applied", parameters=(PREFER,)),
)
async def revert_import(import_id: ImportId, request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """Opposite rows for everything that was applied, all of them or none."""
    imported = await imports.revert(
        services.inventory,
        services.jobs,
        checked_import_id(import_id),
        only_of(caller),
        caller=caller.id,
        wait_s=_wait_s(request, services),
    )
    return _step_answer(imported)


@catalogue_router.post("/import", summary="Make and change products by file", **_catalogue())
async def import_products(
    request: Request,
    services: ServicesDep,
    caller: StockChanger,
    dry_run: Annotated[bool, Query(description="check the file and change nothing")] = False,
) -> Response:
    """Columns `sku` and `name`, optional `category`, `low_stock_threshold`, `safety_stock`, `status`, `initial_stock`.

    All rows are checked before the first is put; with an error, none is. What a row leaves out keeps its value.
    """
    async with received_file(request, ()) as received:
        done = await import_catalogue(services.inventory, received.file, received.name, caller.id, dry_run=dry_run)
    if done.error_count and not dry_run:
        raise FileHasErrors(done.errors, done.error_count)
    return json_answer(
        CatalogueImportView(
            done.applied, done.rows, done.valid, done.created, done.updated, done.error_count, list(done.errors)
        )
    )


def only_of(caller: Caller) -> str | None:
    """An operator sees its own imports; whoever stands above it, and the auditor, every one."""
    return caller.id if caller.role == "operator" else None


def checked_import_id(import_id: str) -> str:
    """The id, if it can be one. Raises UnknownImport."""
    if not _IMPORT_ID.match(import_id):
        raise UnknownImport
    return import_id


def _wait_s(request: Request, services: Services) -> float:
    """How long the caller is ready to wait (RFC 7240)."""
    prefer = request.headers.get("prefer", "").lower()
    if "respond-async" in prefer:
        return 0.0
    asked = _WAIT.search(prefer)
    return min(float(asked[1]), MAX_WAIT_S) if asked else services.settings.import_wait_s


def _step_answer(imported: Import) -> Response:
    return json_answer(_summary(imported), 202 if imported.status in WORKING else 200)


async def _view(services: Services, imported: Import) -> ImportView:
    found = await imports.changes(services.inventory, imported.id, None, MAX_LIMIT)
    return ImportView(
        **_fields(_summary(imported)),
        errors=list(imported.errors),
        changes=[change_view(imported, row) for row in found.rows.items],
        changes_next_cursor=found.rows.next_cursor,
    )


def _fields(struct: Struct) -> dict[str, Any]:
    return structs.asdict(struct)


def change_view(imported: Import, row: ImportRow) -> ChangeView:
    """What a row of this import changes."""
    # With `force` the change is counted from another level than the preview saw.
    current = row.quantity - row.change if imported.mode == "set" else row.current
    return ChangeView(row.row, row.sku, current, current + row.change, row.change, row.note)


def _summary(imported: Import) -> ImportSummary:
    working = imported.status in WORKING
    failure = imported.failure
    return ImportSummary(
        id=imported.id,
        status=imported.status,
        mode=imported.mode,
        reason=imported.reason,
        file_name=imported.file_name,
        rows=imported.rows,
        valid=imported.valid,
        changed=imported.changed,
        error_count=imported.error_count,
        transactions=imported.changed if imported.status in {"APPLIED", "REVERTED"} else 0,
        progress=round(imported.done / max(1, imported.changed), 4) if working else 1.0,
        failure=None
        if failure is None
        else ImportFailureView(
            failure.code, failure.detail or KINDS[failure.code].title, list(failure.rows), list(failure.shortages)
        ),
        created_by=imported.created_by,
        created_at=timestamp_of(imported.created_at),
        expires_at=timestamp_of(imported.expires_at),
        applied_at=None if imported.applied_at is None else timestamp_of(imported.applied_at),
        reverted_at=None if imported.reverted_at is None else timestamp_of(imported.reverted_at),
    )


router.include_router(stock_router)
router.include_router(catalogue_router)
