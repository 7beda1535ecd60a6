"""What may come back from an order: never more than it sold, less what came back before, by whatever way.

Owns that limit; whoever asks holds the order's lock until the return is made. Never changes stock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inventory.refusals import ExcessItem, ReturnExceedsOrder
from persistence.queries import orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.context import Inventory

EXTERNAL_ORDER: Final = "ExternalOrder"
"""reference_type of what came back from an order that was never sold here: there is nothing to hold it against."""


async def check_return(inventory: Inventory, order_id: str, lines: Sequence[tuple[str, int]]) -> bool:
    """True when the order was sold here and can give back these units of each SKU; False when it is unknown here.

    Call it under `order_lock`, and make the return under it too. Raises ReturnExceedsOrder naming every line that asks
    too much, LedgerLate, Unavailable, DatabaseUnavailable.
    """
    # The ledger is a moment behind. What was sold or came back up to now must be in it, or it would not be counted.
    await inventory.caught_up()
    ledger = await orders.ledger_of(inventory.database, order_id)
    if ledger is None or not any(units.sold for units in ledger.units):
        return False
    returnable = {units.sku: units.outstanding for units in ledger.units}
    excess = tuple(
        ExcessItem(sku, requested, returnable.get(sku, 0))
        for sku, requested in lines
        if requested > returnable.get(sku, 0)
    )
    if excess:
        raise ReturnExceedsOrder(excess)
    return True
