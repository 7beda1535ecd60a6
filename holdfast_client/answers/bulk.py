"""Imports by file, as the service answers them. Shapes only; rows are counted as a spreadsheet does, header = 1."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct


class RowError(Struct, frozen=True):
    """One thing that is wrong with one row."""

    row: int
    column: str
    code: str
    message: str


class MovedRow(Struct, frozen=True):
    """A row whose stock is no longer what the preview saw, in units."""

    row: int
    sku: str
    expected: int
    on_hand: int


class ShortRow(Struct, frozen=True):
    """A SKU with fewer units free of holds than would be taken."""

    sku: str
    requested: int
    available: int


class Change(Struct, frozen=True):
    """What a row changes, in units: `new` = `current` + `delta`."""

    row: int
    sku: str
    current: int
    new: int
    delta: int
    note: str | None


class ImportFailure(Struct, frozen=True):
    """Why the last step was refused."""

    code: str
    detail: str
    rows: list[MovedRow]
    shortages: list[ShortRow]


class ImportSummary(Struct, frozen=True):
    """A bulk import without its rows."""

    id: str
    status: str
    """PREVIEWING, PREVIEW, EXPIRED, APPLYING, UNDOING, APPLIED, REVERTING, RESTORING, REVERTED or FAILED."""
    mode: Literal["set", "add"]
    reason: str
    file_name: str
    rows: int
    valid: int
    changed: int
    error_count: int
    transactions: int
    progress: float
    """Of the step under way, 0 to 1; 1 when there is none."""
    failure: ImportFailure | None
    created_by: str
    created_at: datetime
    expires_at: datetime
    applied_at: datetime | None
    reverted_at: datetime | None

    @property
    def is_working(self) -> bool:
        """Whether a step is under way."""
        return self.status in {"PREVIEWING", "APPLYING", "UNDOING", "REVERTING", "RESTORING"}


class Import(ImportSummary, frozen=True):
    """A bulk import: what is wrong with its file, and what it changes."""

    errors: list[RowError]
    """The first thousand."""
    changes: list[Change]
    """The first five hundred."""
    changes_next_cursor: str | None


class CatalogueImport(Struct, frozen=True):
    """What a catalogue file came to; with `dry_run` nothing was changed."""

    applied: bool
    rows: int
    valid: int
    created: int
    updated: int
    error_count: int
    errors: list[RowError]
    """The first thousand."""
