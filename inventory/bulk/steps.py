"""One import worked on until it rests: its file read, its changes applied, undone or reverted.

Owns which status follows which; whoever calls `work_on` may die at any line, and the next caller brings the import to
one of its two ends. Never waits for another who is at it, and never answers a caller.

    PREVIEWING -> PREVIEW -> APPLYING -> APPLIED -> REVERTING -> REVERTED
         |           ^          | |         ^           |
         v           +----------+ v         |           v
       FAILED     (nothing yet)  UNDOING    +------- RESTORING
         ^                          |
         +--------------------------+
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime
from typing import Final

import structlog
from msgspec import Struct, structs

from engine.limits import MAX_ON_HAND, MAX_QUANTITY
from inventory.bulk.chunks import Progress, Refused, flip_all
from inventory.bulk.preview import BATCH, MAX_ERRORS, Tally, preview
from inventory.context import Inventory
from inventory.events.announcements import announce
from inventory.refusals import TooManyRows, UnsupportedFile
from persistence.database import Transaction
from persistence.queries import import_rows, imports
from persistence.queries.import_rows import ImportRow
from persistence.queries.imports import WORKING, Failure, Import, ImportStatus, MovedRow, ShortRow

SHOWN_SKUS: Final = 10

logger = structlog.get_logger("holdfast.imports")


class ImportApplied(Struct, frozen=True):
    """The data of `import.applied`."""

    id: str
    mode: str
    file_name: str
    transactions: int
    reason: str
    created_by: str
    applied_by: str


class Taken(Exception):
    """Another has moved this import on: leave it."""


async def work_on(inventory: Inventory, import_id: str) -> bool:
    """Bring an import to rest. False if another is working on it (or there is none): nothing was done then.

    Raises LedgerLate, Unavailable, DatabaseUnavailable; to be called again after those.
    """
    async with imports.claimed(inventory.database, import_id) as mine:
        if not mine:
            return False
        try:
            while (imported := await imports.get(inventory.database, import_id)) and imported.status in WORKING:
                await _STEPS[imported.status](inventory, imported)
        except Taken:
            logger.warning("an import was moved on by another", import_id=import_id)
            return False
        return imported is not None


async def _move(inventory: Inventory, imported: Import, status: ImportStatus, **values: object) -> None:
    async with inventory.database.transaction() as transaction:
        await _move_in(transaction, imported, status, **values)


async def _move_in(transaction: Transaction, imported: Import, status: ImportStatus, **values: object) -> None:
    if not await imports.move(transaction, imported.id, imported.status, status=status, **values):
        raise Taken


async def _read(inventory: Inventory, imported: Import) -> None:
    """PREVIEWING: the kept file becomes rows, or the import fails."""
    with tempfile.TemporaryFile() as file:
        async for part in import_rows.kept_file(inventory.database, imported.id):
            await asyncio.to_thread(file.write, part)
        try:
            async with inventory.database.transaction() as transaction:
                await import_rows.clear(transaction, imported.id)

                async def keep(rows: list[ImportRow]) -> None:
                    await import_rows.add(transaction, imported.id, rows)

                tally = await preview(inventory, file, imported.file_name, imported.mode, keep)
                await store_preview(transaction, imported, tally)
        except (UnsupportedFile, TooManyRows) as refusal:
            async with inventory.database.transaction() as transaction:
                await import_rows.forget_file(transaction, imported.id)
                await _move_in(transaction, imported, "FAILED", failure=Failure(refusal.code, refusal.detail))


async def store_preview(transaction: Transaction, imported: Import, tally: Tally) -> None:
    """PREVIEWING -> PREVIEW with what was found."""
    await import_rows.forget_file(transaction, imported.id)
    await _move_in(
        transaction,
        imported,
        "PREVIEW",
        rows=tally.rows,
        valid=tally.valid,
        changed=tally.changed,
        error_count=tally.error_count,
        errors=tally.errors,
    )


async def _apply(inventory: Inventory, imported: Import) -> None:
    """APPLYING -> APPLIED; back to PREVIEW if the stock stands in the way before anything was changed."""
    if not imported.checked:
        await _check(inventory, imported)
        return
    try:
        await flip_all(inventory, imported, applied=True, progress=_progress(inventory, imported))
    except Refused as refused:
        if imported.changed <= 0 or await _is_untouched(inventory, imported):
            await _move(inventory, imported, "PREVIEW", failure=refused.failure, done=0, checked=False)
        else:
            await _move(inventory, imported, "UNDOING", failure=refused.failure)
        return
    async with inventory.database.transaction() as transaction:
        await _move_in(
            transaction, imported, "APPLIED", applied_at=datetime.now(UTC), failure=None, done=imported.changed
        )
        told = ImportApplied(
            imported.id,
            imported.mode,
            imported.file_name,
            imported.changed,
            imported.reason,
            imported.created_by,
            imported.actor,
        )
        await announce(transaction, "import.applied", told)


async def _is_untouched(inventory: Inventory, imported: Import) -> bool:
    """True if no chunk of the import has ever been applied."""
    await inventory.caught_up()
    return not await import_rows.has_ledger_rows(inventory.database, imported.id)


async def _undo(inventory: Inventory, imported: Import) -> None:
    """UNDOING -> FAILED, with nothing left changed."""
    await flip_all(inventory, imported, applied=False, progress=_progress(inventory, imported))
    await _move(inventory, imported, "FAILED", done=0)


async def _revert(inventory: Inventory, imported: Import) -> None:
    """REVERTING -> REVERTED; when the stock does not allow it, what was reverted is put on again."""
    try:
        await flip_all(inventory, imported, applied=False, progress=_progress(inventory, imported))
    except Refused as refused:
        await _move(inventory, imported, "RESTORING", failure=refused.failure)
        return
    await _move(inventory, imported, "REVERTED", reverted_at=datetime.now(UTC), failure=None, done=imported.changed)


async def _restore(inventory: Inventory, imported: Import) -> None:
    """RESTORING -> APPLIED, as if no revert had been tried."""
    await flip_all(inventory, imported, applied=True, progress=_progress(inventory, imported))
    await _move(inventory, imported, "APPLIED", done=imported.changed)


_STEPS = {"PREVIEWING": _read, "APPLYING": _apply, "UNDOING": _undo, "REVERTING": _revert, "RESTORING": _restore}


def _progress(inventory: Inventory, imported: Import) -> Progress:
    async def progress(lines: int) -> None:
        # Also the place where one who was thought dead and comes back finds out that others went on.
        await _move(inventory, imported, imported.status, done=lines)

    return progress


async def _check(inventory: Inventory, imported: Import) -> None:
    """Look at the stock of every row once more. From here on it is fixed what each row changes.

    The changes are counted from the stock of this moment: what moves after it moves after the import.
    """
    obstacles = _Obstacles()
    changed = 0
    try:
        async with inventory.database.transaction() as transaction:
            last_row = 0
            while rows := await import_rows.after(inventory.database, imported.id, last_row, BATCH):
                last_row = rows[-1].row
                fresh = await _looked_at(inventory, imported, rows, obstacles)
                changed += sum(row.change != 0 for row in fresh)
                other = [new for new, old in zip(fresh, rows, strict=True) if new.change != old.change]
                if other and not obstacles.any():
                    await import_rows.set_changes(transaction, imported.id, other)
            obstacles.check()
            await _move_in(transaction, imported, "APPLYING", checked=True, changed=changed, done=0)
    except Refused as refused:
        await _move(inventory, imported, "PREVIEW", failure=refused.failure)


class _Obstacles:
    """What stands in the way of an import, the first MAX_ERRORS of each kind."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.moved: list[MovedRow] = []
        self.short: list[ShortRow] = []
        self.beyond: list[str] = []

    def any(self) -> bool:
        """True if there is anything."""
        return bool(self.unknown or self.moved or self.short or self.beyond)

    def check(self) -> None:
        """Raise Refused if there is anything."""
        if self.unknown:
            raise Refused(Failure("unknown-sku", skus=tuple(self.unknown[:MAX_ERRORS])))
        if self.moved:
            raise Refused(Failure("stock-moved", rows=tuple(self.moved[:MAX_ERRORS])))
        if self.beyond:
            raise Refused(Failure("stock-limit", f"More units than a SKU can hold, or change: {_first(self.beyond)}."))
        if self.short:
            detail = "More than is on hand and not reserved."
            raise Refused(Failure("insufficient-stock", detail, shortages=tuple(self.short[:MAX_ERRORS])))


async def _looked_at(
    inventory: Inventory, imported: Import, rows: tuple[ImportRow, ...], obstacles: _Obstacles
) -> list[ImportRow]:
    levels = {level.sku: level for level in await inventory.engine.stock_levels([row.sku for row in rows])}
    fresh = []
    for row in rows:
        level = levels.get(row.sku)
        if level is None:
            obstacles.unknown.append(row.sku)
            fresh.append(row)
            continue
        change = row.quantity - level.on_hand if imported.mode == "set" else row.change
        if imported.mode == "set" and not imported.force and level.on_hand != row.current:
            obstacles.moved.append(MovedRow(row.row, row.sku, row.current, level.on_hand))
        elif level.on_hand + change > MAX_ON_HAND or abs(change) > MAX_QUANTITY:
            obstacles.beyond.append(row.sku)
        elif -change > level.on_hand - level.reserved:
            obstacles.short.append(ShortRow(row.sku, -change, level.on_hand - level.reserved))
        fresh.append(structs.replace(row, change=change))
    return fresh


def _first(skus: list[str]) -> str:
    return ", ".join(skus[:SHOWN_SKUS]) + (" ..." if len(skus) > SHOWN_SKUS else "")
