"""Stock imports as callers use them: upload, look, apply, revert; and what the schedule does for those left behind.

Owns who may see an import and what each verb answers in each status; the work is done in steps.py, here for a small
file and by a background job for a large one. Lost jobs do no harm: `resume` finds what nobody is working on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import BinaryIO, Final

import structlog
from msgspec import Struct, structs

from engine.identity import derived_base, random_base
from engine.results import Shortage
from inventory.bulk.preview import preview
from inventory.bulk.sheets import is_xlsx
from inventory.bulk.steps import store_preview, work_on
from inventory.bulk.workbook import unpacked_bytes
from inventory.context import Inventory
from inventory.job_queue import JobQueue
from inventory.refusals import (
    FileHasErrors,
    ImportEnded,
    ImportNotApplied,
    ImportNotReady,
    InsufficientStock,
    KeyReused,
    PreviewExpired,
    Refusal,
    StockLimit,
    StockMoved,
    TooManyRows,
    UnknownImport,
    UnknownSku,
    UnsupportedFile,
)
from persistence.pages import Page
from persistence.queries import import_rows, imports
from persistence.queries.import_rows import FILE_PART_BYTES, ImportRow
from persistence.queries.imports import WORKING, Failure, Import, ImportMode

JOB: Final = "imports.work"
IDLE_S: Final = 30.0
"""An import that nobody has moved for this long is looked after by the schedule."""
ASK_AGAIN_S: Final = 5.0
"""A large import that nobody has moved for this long is asked for once more when a caller repeats a step."""
LOOK_EVERY_S: Final = 0.1
_INLINE_ROW_BYTES: Final = 500
"""What one row of a workbook unpacks to, generously; a sheet of more is not looked at here."""
_EXPIRED_AT_A_TIME: Final = 200
_READ_BYTES: Final = 1_048_576

logger = structlog.get_logger("holdfast.imports")


class Upload(Struct, frozen=True, kw_only=True):
    """A file as it came in, and what shall become of it. `file` is read from its beginning and not closed."""

    file: BinaryIO
    name: str
    mode: ImportMode
    reason: str
    caller: str
    """Id of the API key."""
    key: str | None = None
    """Idempotency-Key: the same upload again gives the same import."""


class Changes(Struct, frozen=True):
    """An import and the first rows that it changes."""

    imported: Import
    rows: Page[ImportRow]


async def upload(inventory: Inventory, jobs: JobQueue | None, wanted: Upload, wait_s: float) -> Import:
    """Make a preview; nothing moves. A large file may still be PREVIEWING after `wait_s` seconds.

    Raises UnsupportedFile, TooManyRows, KeyReused, Unavailable, DatabaseUnavailable.
    """
    xlsx = await asyncio.to_thread(is_xlsx, wanted.file, wanted.name)
    content = await asyncio.to_thread(_digest, wanted.file)
    import_id = "imp_" + (random_base() if wanted.key is None else derived_base("import", wanted.caller, wanted.key))
    now = datetime.now(UTC)
    new = Import(
        id=import_id,
        mode=wanted.mode,
        status="PREVIEWING",
        reason=wanted.reason,
        file_name=wanted.name,
        fingerprint=f"{content} {wanted.mode} {blake2b(wanted.reason.encode(), digest_size=8).hexdigest()}",
        created_by=wanted.caller,
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(seconds=inventory.settings.preview_ttl_s),
        rows=0,
        valid=0,
        changed=0,
        error_count=0,
        errors=(),
        force=False,
        checked=False,
        actor=wanted.caller,
        done=0,
        failure=None,
        applied_at=None,
        reverted_at=None,
    )
    if wanted.key is not None and (before := await imports.get(inventory.database, import_id)) is not None:
        return await _seen_again(inventory, before, new, wait_s)
    if await asyncio.to_thread(_is_small, wanted.file, xlsx, inventory.settings.import_inline_rows):
        made = await _preview_here(inventory, wanted, new)
    else:
        made = await _keep(inventory, wanted, new)
        if made:
            await _ask(inventory, jobs, import_id)
    stored = await _settled(inventory, import_id, wait_s)
    if not made:
        return await _seen_again(inventory, stored, new, wait_s)
    return _readable(stored)


async def get(inventory: Inventory, import_id: str, only_of: str | None) -> Import:
    """An import. `only_of`: the one caller whose imports may be seen; None: everybody's. Raises UnknownImport."""
    found = await imports.get(inventory.database, import_id)
    if found is None or only_of not in {None, found.created_by}:
        raise UnknownImport
    if found.status == "PREVIEW" and found.expires_at <= datetime.now(UTC):
        return structs.replace(found, status="EXPIRED")
    return found


async def changes(
    inventory: Inventory, import_id: str, only_of: str | None, limit: int, cursor: str | None = None
) -> Changes:
    """An import and a page of the rows that it changes. Raises UnknownImport, InvalidCursor."""
    imported = await get(inventory, import_id, only_of)
    return Changes(imported, await import_rows.change_page(inventory.database, import_id, limit, cursor))


async def page(inventory: Inventory, only_of: str | None, limit: int = 50, cursor: str | None = None) -> Page[Import]:
    """A page of imports, newest first. Raises InvalidCursor, DatabaseUnavailable."""
    return await imports.page(inventory.database, only_of, limit, cursor)


async def apply(
    inventory: Inventory,
    jobs: JobQueue | None,
    import_id: str,
    only_of: str | None,
    *,
    caller: str,
    force: bool,
    wait_s: float,
) -> Import:
    """Apply all rows or none. Again: the same answer. Still at work after `wait_s` seconds: as it is then.

    Raises UnknownImport, ImportNotReady, FileHasErrors, PreviewExpired, StockMoved, InsufficientStock, StockLimit,
    ImportEnded; LedgerLate and Unavailable, after which the schedule goes on with it.
    """
    found = await get(inventory, import_id, only_of)
    if found.status == "PREVIEWING":
        raise ImportNotReady("The file is still being read.")
    if found.status == "EXPIRED":
        raise PreviewExpired
    if found.status == "PREVIEW":
        if found.error_count:
            raise FileHasErrors(found.errors, found.error_count)
        async with inventory.database.transaction() as transaction:
            mine = await imports.move(
                transaction, found.id, "PREVIEW", status="APPLYING", actor=caller, force=force, checked=False,
                failure=None, done=0,
            )  # fmt: skip
        if mine:
            await _begin(inventory, jobs, found)
        found = await _settled(inventory, found.id, wait_s)
    elif found.status in {"REVERTING", "RESTORING"}:
        raise ImportNotReady
    elif found.status in WORKING:
        await _take_up(inventory, jobs, found)
        found = await _settled(inventory, found.id, wait_s)
    if found.status == "REVERTED":
        raise ImportEnded("This import was reverted; upload the file again.")
    if found.status in {"PREVIEW", "FAILED"} and found.failure is not None:
        raise refusal_of(found.failure)
    return found


async def revert(
    inventory: Inventory, jobs: JobQueue | None, import_id: str, only_of: str | None, *, caller: str, wait_s: float
) -> Import:
    """Take back what was applied, all of it or nothing. Again: the same answer. Raises as `apply`, and
    ImportNotApplied.
    """
    found = await get(inventory, import_id, only_of)
    if found.status == "APPLIED":
        async with inventory.database.transaction() as transaction:
            mine = await imports.move(
                transaction, found.id, "APPLIED", status="REVERTING", actor=caller, failure=None, done=0
            )
        if mine:
            await _begin(inventory, jobs, found)
        found = await _settled(inventory, found.id, wait_s)
    elif found.status in {"REVERTING", "RESTORING"}:
        await _take_up(inventory, jobs, found)
        found = await _settled(inventory, found.id, wait_s)
    elif found.status in WORKING:
        raise ImportNotReady
    elif found.status != "REVERTED":
        raise ImportNotApplied
    if found.status == "APPLIED" and found.failure is not None:
        raise refusal_of(found.failure)
    return found


async def resume(inventory: Inventory) -> int:
    """Work on every import that somebody should be working on and nobody is; how many came to rest.

    Raises LedgerLate, Unavailable, DatabaseUnavailable.
    """
    done = 0
    for import_id in await imports.unfinished(inventory.database, IDLE_S):
        done += await work_on(inventory, import_id)
    return done


async def expire_previews(inventory: Inventory) -> int:
    """Let go of the rows of previews that nobody applied in time; how many. Raises DatabaseUnavailable."""
    gone = 0
    for import_id in await imports.expired(inventory.database, _EXPIRED_AT_A_TIME):
        async with inventory.database.transaction() as transaction:
            if await imports.move(transaction, import_id, "PREVIEW", status="EXPIRED"):
                await import_rows.clear(transaction, import_id)
                gone += 1
    return gone


async def forget_old(inventory: Inventory) -> int:
    """Forget imports as old as reservations are forgotten; how many. Raises DatabaseUnavailable."""
    before = datetime.now(UTC) - timedelta(seconds=inventory.settings.retention.reservations_s)
    gone = 0
    while await imports.forget(inventory.database, before):
        gone += 1
    return gone


def refusal_of(failure: Failure) -> Refusal:
    """The refusal that a stored failure stands for."""
    if failure.code == StockMoved.code:
        return StockMoved(failure.rows)
    if failure.code == InsufficientStock.code:
        return InsufficientStock(
            tuple(Shortage(short.sku, short.requested, short.available, 0) for short in failure.shortages)
        )
    if failure.code == UnknownSku.code:
        return UnknownSku(failure.skus)
    of_code: dict[str, type[Refusal]] = {kind.code: kind for kind in (StockLimit, UnsupportedFile, TooManyRows)}
    return of_code.get(failure.code, ImportEnded)(failure.detail)


def _readable(imported: Import) -> Import:
    """The import, unless its file could not be read."""
    if imported.status == "FAILED" and imported.failure is not None:
        raise refusal_of(imported.failure)
    return imported


async def _seen_again(inventory: Inventory, before: Import, new: Import, wait_s: float) -> Import:
    if before.fingerprint != new.fingerprint:
        raise KeyReused
    return _readable(await _settled(inventory, before.id, wait_s))


async def _preview_here(inventory: Inventory, wanted: Upload, new: Import) -> bool:
    async with inventory.database.transaction() as transaction:
        if not await imports.create(transaction, **structs.asdict(new)):
            return False

        async def keep(rows: list[ImportRow]) -> None:
            await import_rows.add(transaction, new.id, rows)

        tally = await preview(inventory, wanted.file, wanted.name, wanted.mode, keep)
        await store_preview(transaction, new, tally)
    return True


async def _keep(inventory: Inventory, wanted: Upload, new: Import) -> bool:
    """Keep the file where every worker can read it."""
    async with inventory.database.transaction() as transaction:
        if not await imports.create(transaction, **structs.asdict(new)):
            return False
        wanted.file.seek(0)
        part = 0
        while data := await asyncio.to_thread(wanted.file.read, FILE_PART_BYTES):
            await import_rows.keep_file(transaction, new.id, part, data)
            part += 1
    return True


async def _begin(inventory: Inventory, jobs: JobQueue | None, before: Import) -> None:
    """Do the step that was just entered, or have it done."""
    if before.rows <= inventory.settings.import_inline_rows:
        await work_on(inventory, before.id)
    else:
        await _ask(inventory, jobs, before.id)


async def _take_up(inventory: Inventory, jobs: JobQueue | None, found: Import) -> None:
    """Go on with a step that was begun, if nobody is at it: who asks again need not wait for the schedule."""
    if (
        found.rows <= inventory.settings.import_inline_rows
        or (datetime.now(UTC) - found.updated_at).total_seconds() > ASK_AGAIN_S
    ):
        await _begin(inventory, jobs, found)


async def _ask(inventory: Inventory, jobs: JobQueue | None, import_id: str) -> None:
    if jobs is not None and await jobs.enqueue(JOB, import_id=import_id):
        return
    # Without a queue the work is done here, in the background; if this process ends first, by the schedule.
    _background(work_on(inventory, import_id))


_running: set[asyncio.Task[bool]] = set()


def _background(work: Coroutine[None, None, bool]) -> None:
    def ended(task: asyncio.Task[bool]) -> None:
        _running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.warning("an import was interrupted; the schedule goes on with it", exc_info=task.exception())

    task = asyncio.get_running_loop().create_task(work)
    # The loop itself keeps tasks only weakly.
    _running.add(task)
    task.add_done_callback(ended)


async def _settled(inventory: Inventory, import_id: str, wait_s: float) -> Import:
    """The import once nobody works on it any more, or as it is after `wait_s` seconds."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        found = await imports.get(inventory.database, import_id)
        if found is None:
            raise UnknownImport
        if found.status not in WORKING or asyncio.get_running_loop().time() >= deadline:
            return found
        await asyncio.sleep(LOOK_EVERY_S)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = blake2b(digest_size=16)
    while data := file.read(_READ_BYTES):
        digest.update(data)
    file.seek(0)
    return digest.hexdigest()


def _is_small(file: BinaryIO, xlsx: bool, rows: int) -> bool:
    """True if the file can have no more than about `rows` rows."""
    if xlsx:
        return unpacked_bytes(file) <= rows * _INLINE_ROW_BYTES
    file.seek(0)
    ends = 0
    while data := file.read(_READ_BYTES):
        ends += max(data.count(b"\n"), data.count(b"\r"))
        if ends > rows + 1:
            return False
    return True
