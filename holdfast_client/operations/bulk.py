"""Stock and catalogue by file: upload, preview, apply, revert, export.

Owns these operations. Files are handed over as bytes or read whole from a path: the service bounds their size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from holdfast_client.answers.bulk import CatalogueImport, Change, Import, ImportSummary
from holdfast_client.answers.shop import Page
from holdfast_client.asking import Asking, as_, new_key, page_of
from holdfast_client.driving import operation, streamed
from holdfast_client.event_stream import body_pieces
from holdfast_client.steps import Call, Steps, Stream, Upload

PATIENCE_S: Final = 120.0
"""Of one attempt at a request that carries or applies a file, when the call does not say."""

ExportStatus = Literal["IN_STOCK", "LOW_STOCK", "OUT_OF_STOCK", "active", "inactive"]


class BulkOperations(Asking):
    """Imports and exports."""

    @operation
    def upload_stock(
        self,
        file: Path | bytes,
        *,
        mode: Literal["set", "add"],
        reason: str,
        name: str | None = None,
        wait_s: int | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Import]:
        """Upload a CSV or XLSX file and see what it would change: nothing moves.

        `mode`: `set` makes on_hand the quantity, `add` adds it. `name`: of the file, where it is bytes. `wait_s`: how
        long the service waits for a large file (0 to 60); after that the status is PREVIEWING. Raises UnsupportedFile,
        TooManyRows.
        """
        call = Call(
            "/inventory/bulk-update",
            "POST",
            as_(Import),
            headers={"idempotency-key": new_key(idempotency_key), "prefer": _prefer(wait_s)},
            upload=_upload(file, name, {"mode": mode, "reason": reason}),
            timeout_s=PATIENCE_S,
        )
        return (yield from self._ask(call))

    @streamed(ImportSummary)
    def list_imports(self, *, page_size: int | None = None) -> Stream:
        """Bulk imports, newest first; an operator sees those it made."""

        def page(cursor: str | None) -> Call[Page[ImportSummary]]:
            query = {"limit": page_size, "cursor": cursor}
            return Call("/inventory/bulk-update", "GET", page_of(ImportSummary), query=query)

        yield from self._walk(page)

    @operation
    def get_import(self, import_id: str) -> Steps[Import]:
        """What it is, how far it has come, what is wrong with its file and what it changes. Raises UnknownImport."""
        return (yield from self._ask(Call("/inventory/bulk-update/{}", "GET", as_(Import), (import_id,))))

    @streamed(Change)
    def list_import_changes(self, import_id: str, *, page_size: int | None = None) -> Stream:
        """What it changes, in the order of its file."""

        def page(cursor: str | None) -> Call[Page[Change]]:
            query = {"limit": page_size, "cursor": cursor}
            return Call("/inventory/bulk-update/{}/changes", "GET", page_of(Change), (import_id,), query=query)

        yield from self._walk(page)

    @operation
    def apply_import(
        self, import_id: str, *, force: bool | None = None, wait_s: int | None = None
    ) -> Steps[ImportSummary]:
        """Apply all rows or none. `is_working` of the answer: a large file is still under way; ask again.

        `force`: although the stock has changed since the preview. Raises PreviewHasErrors, StockMoved, PreviewExpired.
        """
        call = Call(
            "/inventory/bulk-update/{}/apply",
            "POST",
            as_(ImportSummary),
            (import_id,),
            query={"force": force},
            headers={"prefer": _prefer(wait_s)},
            timeout_s=PATIENCE_S,
        )
        return (yield from self._ask(call))

    @operation
    def revert_import(self, import_id: str, *, wait_s: int | None = None) -> Steps[ImportSummary]:
        """Undo an import with opposite rows, all or none. Raises ImportNotApplied, InsufficientStock."""
        call = Call(
            "/inventory/bulk-update/{}/revert",
            "POST",
            as_(ImportSummary),
            (import_id,),
            headers={"prefer": _prefer(wait_s)},
            timeout_s=PATIENCE_S,
        )
        return (yield from self._ask(call))

    @operation
    def import_products(
        self, file: Path | bytes, *, name: str | None = None, dry_run: bool | None = None
    ) -> Steps[CatalogueImport]:
        """Make and change products by file; with an error in it, none. Raises PreviewHasErrors, UnsupportedFile."""
        call = Call(
            "/inventory/products/import",
            "POST",
            as_(CatalogueImport),
            query={"dry_run": dry_run},
            upload=_upload(file, name, {}),
            timeout_s=PATIENCE_S,
        )
        return (yield from self._ask(call))

    @streamed(bytes)
    def export(
        self,
        format: Literal["csv", "xlsx"] = "csv",
        *,
        category: str | None = None,
        status: ExportStatus | None = None,
        min_available: int | None = None,
        max_available: int | None = None,
    ) -> Stream:
        """The stock as a spreadsheet, piece by piece. AnswerLost in the middle: what came so far is not the whole."""
        query = {
            "format": format,
            "category": category,
            "status": status,
            "min_available": min_available,
            "max_available": max_available,
        }
        call = Call("/inventory/export", "GET", as_(bytes), query=query, timeout_s=PATIENCE_S)
        yield from body_pieces(call, self._manner)


def _upload(file: Path | bytes, name: str | None, fields: dict[str, str]) -> Upload:
    if isinstance(file, Path):
        return Upload(name or file.name, file.read_bytes(), fields)
    return Upload(name or "upload.csv", file, fields)


def _prefer(wait_s: int | None) -> str | None:
    return None if wait_s is None else f"wait={wait_s}"
