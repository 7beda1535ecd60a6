"""The lines of an import put on the stock, or taken off it again, in chunks that can each be repeated without harm.

Owns the way from "not applied" to "applied" and back; never decides which way to go (steps.py) and never answers a
caller. A chunk is flipped by one Adjust of the engine, all of its lines or none. Its n-th flip always has the same
base, so whoever repeats it, however often, changes nothing; how often it was flipped is read from the ledger, where
each flip has left one row a SKU. So a run that died anywhere is simply begun again.

Chunks that only take stock come first and chunks that only add come after: once the first are through, nothing can
stand in the way any more, and while they are not, what was taken can always be given back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from engine.commands import Adjust, AdjustOperation, TransactionType
from engine.identity import derived_base, fingerprint
from engine.results import Result, Status
from inventory.context import Inventory
from persistence.queries import import_rows
from persistence.queries.import_rows import ChunkHead, ImportRow
from persistence.queries.imports import Failure, Import, MovedRow, ShortRow

CHUNK_LINES: Final = 1_000
"""Lines of one Adjust: some 5 ms of Redis, which everybody else waits for. An import of no more changes is one chunk,
and so one event: it is seen whole or not at all."""
COMMIT_EVERY: Final = 10
"""Chunks sent ahead of the ledger, so that the journal never grows by the whole import."""
MAX_REASON: Final = 500

Progress = Callable[[int], Awaitable[None]]


class Refused(Exception):
    """A chunk was refused; it and the chunks after it were not flipped. Nothing else was undone."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


async def flip_all(inventory: Inventory, imported: Import, *, applied: bool, progress: Progress) -> None:
    """Make every chunk of `imported` applied, or not applied, and return once the ledger has it.

    `progress` hears how many lines are where they should be. Raises Refused, LedgerLate, Unavailable,
    DatabaseUnavailable, and what `progress` raises; after any of them it may be called again, either way.
    """
    heads = await _heads(inventory, imported, applied)
    if not heads:
        return
    # What another run has sent may still be on its way to the ledger, which tells what has been flipped.
    await inventory.caught_up()
    flips = await import_rows.ledger_rows(inventory.database, imported.id, [head.sku for head in heads])
    done = 0
    sent: Result | None = None
    for number, head in enumerate(heads, 1):
        rows = await import_rows.chunk(inventory.database, imported.id, head, CHUNK_LINES)
        count = flips.get(head.sku, 0)
        if (count % 2 == 1) != applied:
            sent = await _flip(inventory, imported, head, rows, count)
        done += len(rows)
        if number % COMMIT_EVERY == 0 or number == len(heads):
            if sent is not None:
                await inventory.committed(sent.seq, sent.epoch)
            await progress(done)


async def _heads(inventory: Inventory, imported: Import, applied: bool) -> list[ChunkHead]:
    """The chunks in the order in which they are flipped."""
    if imported.changed == 0:
        return []
    heads = await import_rows.chunk_heads(inventory.database, imported.id, CHUNK_LINES)
    if imported.changed <= CHUNK_LINES:
        first = heads[0]
        return [ChunkHead(None, first.first_row, first.sku)]
    return sorted(heads, key=lambda head: (head.takes != applied, head.first_row))


async def _flip(
    inventory: Inventory, imported: Import, head: ChunkHead, rows: tuple[ImportRow, ...], count: int
) -> Result:
    """Flip one chunk that has been flipped `count` times; the engine's answer. Raises Refused."""
    base = derived_base("import", imported.id, f"{head.takes}:{head.first_row}:{count}")
    applying = count % 2 == 0
    # One chunk of counts says what the shelf holds at one instant: the stock must be what the preview saw. Of several
    # chunks no instant is the import's; there the difference is put on, as if what moved since had moved after it.
    exact = applying and head.takes is None and imported.mode == "set" and not imported.force
    lines = tuple(_exact_line(row) if exact else _line(row, applying) for row in rows)
    result = await inventory.engine.execute(
        Adjust(
            base=base,
            lines=lines,
            transaction_type=_transaction_type(imported, rows, applying),
            reason=_reason(imported, applying),
            reference_type="Import",
            reference_id=imported.id,
            actor=imported.actor,
            fingerprint=fingerprint(base.encode()),
            expected=tuple(row.current for row in rows) if exact else (),
        )
    )
    if result.status not in {Status.OK, Status.REPLAYED}:
        raise Refused(await _failure(inventory, rows, result))
    return result


def _exact_line(row: ImportRow) -> tuple[str, AdjustOperation, int]:
    return (row.sku, "set", row.current + row.change)


def _line(row: ImportRow, applying: bool) -> tuple[str, AdjustOperation, int]:
    change = row.change if applying else -row.change
    return (row.sku, "add" if change > 0 else "remove", abs(change))


def _transaction_type(imported: Import, rows: tuple[ImportRow, ...], applying: bool) -> TransactionType:
    """IN for what a file of mode `add` brings; everything else puts a number right."""
    if imported.mode == "add" and applying and all(row.change > 0 for row in rows):
        return "IN"
    return "ADJUSTMENT"


def _reason(imported: Import, applying: bool) -> str:
    if applying:
        return imported.reason
    return f"{'undone' if imported.status == 'UNDOING' else 'reverted'}: {imported.reason}"[:MAX_REASON]


async def _failure(inventory: Inventory, rows: tuple[ImportRow, ...], result: Result) -> Failure:
    if result.status == Status.INSUFFICIENT_STOCK:
        short = tuple(ShortRow(line.sku, line.requested, line.available) for line in result.shortages)
        return Failure("insufficient-stock", "More than is on hand and not reserved.", shortages=short)
    if result.status == Status.STOCK_MOVED:
        levels = {level.sku: level for level in await inventory.engine.stock_levels(result.skus)}
        moved = tuple(
            MovedRow(row.row, row.sku, row.current, levels[row.sku].on_hand) for row in rows if row.sku in levels
        )
        return Failure("stock-moved", rows=moved)
    if result.status == Status.STOCK_LIMIT:
        return Failure("stock-limit", "A SKU would have more units than it can hold.")
    if result.status == Status.UNKNOWN_SKU:
        return Failure("unknown-sku", skus=result.skus)
    raise RuntimeError(f"the engine answered {result.status} to an import's chunk")
