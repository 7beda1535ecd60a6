"""Stock changed by hand: receive, remove, count, damage, return. Done at once, or kept until a second person agrees.

Owns when a change needs approval. What a change is and does stands in adjustments.py, what becomes of one that waits in
approvals.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.results import Status
from inventory.adjustments import StockChange, checked, committed_rows, execute, identity_of, refusal_of
from inventory.approvals import asked_before, counted_again, request_approval
from inventory.refusals import StockBusy

if TYPE_CHECKING:
    from inventory.adjustments import Identity
    from inventory.context import Inventory
    from persistence.queries.approvals import Approval
    from persistence.queries.transactions import Transaction

__all__ = ["StockChange", "change_stock"]

_ROUNDS: Final = 20
"""How often a count is looked at anew while its SKU keeps moving around the limit."""


async def change_stock(inventory: Inventory, change: StockChange) -> tuple[Transaction, ...] | Approval:
    """Make the change and give its ledger rows, in the order of its lines; or the Approval that it waits for.

    More than `approval_units` units in all wait for approval. With an idempotency key the same change again gives the
    same rows, or the approval as it is by then. Raises InvalidRequest, UnknownSku, InsufficientStock, StockLimit,
    ReturnExceedsOrder, KeyReused, StockBusy with nothing changed; LedgerLate, Unavailable, DatabaseUnavailable, after
    which repeating with the key is safe.
    """
    change = checked(change)
    identity = identity_of(change)
    keyed = change.idempotency_key is not None
    if keyed:
        approval = await asked_before(inventory, identity)
        if approval is not None:
            return approval
    for _ in range(_ROUNDS):
        result = await execute(
            inventory, change, identity, max_units=inventory.settings.approval_units, remembered=keyed
        )
        if result.status in {Status.OK, Status.REPLAYED}:
            rows = await committed_rows(inventory, result.first_epoch, result.first_seq)
            if change.kind == "count" and result.status == Status.OK:
                await counted_again(inventory, change.lines[0][0])
            return rows
        if result.status != Status.CHANGE_TOO_LARGE:
            raise refusal_of(result)
        if change.kind != "count":
            return await request_approval(inventory, change, identity, result.units_moved)
        asked = await _count_for_approval(inventory, change, identity)
        if asked is not None:
            return asked
    raise StockBusy


async def _count_for_approval(inventory: Inventory, change: StockChange, identity: Identity) -> Approval | None:
    """Ask for what the count found too much or too little now; None when that has become little enough to be made."""
    ((sku, counted),) = change.lines
    levels = await inventory.engine.stock_levels([sku])
    difference = counted - levels[0].on_hand if levels else 0
    if abs(difference) <= inventory.settings.approval_units:
        return None
    return await request_approval(inventory, change, identity, abs(difference), difference)
