"""Answers of the bulk routes, as structs."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from api.schemas.shop import Time
from persistence.queries.imports import MovedRow, RowError, ShortRow

ImportState = Literal[
    "PREVIEWING",
    "PREVIEW",
    "EXPIRED",
    "APPLYING",
    "UNDOING",
    "APPLIED",
    "REVERTING",
    "RESTORING",
    "REVERTED",
    "FAILED",
]


class ChangeView(Struct, frozen=True):
    """What a row changes: `new` = `current` + `delta`, in units. `row` as a spreadsheet counts, the header being 1."""

    row: int
    sku: str
    current: int
    new: int
    delta: int
    note: str | None


class ChangeList(Struct, frozen=True):
    """A page of an import's changes, in the order of its file."""

    items: list[ChangeView]
    next_cursor: str | None


class ImportFailureView(Struct, frozen=True):
    """Why the last step was refused: the problem's code, a sentence, and the rows that stood in its way."""

    code: str
    detail: str
    rows: list[MovedRow]
    """Rows whose stock is not what the preview saw."""
    shortages: list[ShortRow]
    """SKUs with fewer units free of holds than would be taken."""


class ImportSummary(Struct, frozen=True):
    """A bulk import without its rows."""

    id: str
    status: ImportState
    mode: Literal["set", "add"]
    reason: str
    file_name: str
    rows: int
    """Of the file, the header not counted."""
    valid: int
    """Rows that can be applied."""
    changed: int
    """Rows of these that change anything."""
    error_count: int
    transactions: int
    """Ledger rows that applying has made."""
    progress: float
    """Of the step under way, 0 to 1; 1 when there is none."""
    failure: ImportFailureView | None
    created_by: str
    created_at: Time
    expires_at: Time
    applied_at: Time | None
    reverted_at: Time | None


class ImportView(ImportSummary, frozen=True):
    """A bulk import: what is wrong with its file, and what it changes."""

    errors: list[RowError]
    """The first thousand; `error_count` has them all."""
    changes: list[ChangeView]
    """The first five hundred, rows that change nothing left out."""
    changes_next_cursor: str | None
    """Cursor of the changes that follow, for `/changes`."""


class ImportList(Struct, frozen=True):
    """A page of imports, newest first."""

    items: list[ImportSummary]
    next_cursor: str | None


class CatalogueImportView(Struct, frozen=True):
    """What a catalogue file came to. With `dry_run` nothing was changed."""

    applied: bool
    rows: int
    valid: int
    created: int
    updated: int
    error_count: int
    errors: list[RowError]
    """The first thousand."""
