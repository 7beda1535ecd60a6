"""Stock changed by hand: what is wanted, how it becomes an engine command, and what the engine's answer means.

Owns the kinds of change and their ledger rows. Never asks whether a change may happen without a second person: that is
stock_changes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from engine.commands import Adjust, AdjustOperation, TransactionType
from engine.identity import derived_base, fingerprint, random_base
from engine.limits import MAX_LINES, MAX_ON_HAND, MAX_QUANTITY, MAX_TEXT, is_sku
from engine.results import Status
from inventory import refusals
from inventory.context import PARTITION
from inventory.returns import EXTERNAL_ORDER, check_return
from persistence.queries import transactions
from persistence.queries.order_lock import order_lock

if TYPE_CHECKING:
    from engine.results import Result
    from inventory.context import Inventory
    from persistence.queries.transactions import Transaction

ChangeKind = Literal["receive", "remove", "count", "damage", "return"]

MIN_REASON: Final = 3
MAX_REASON: Final = 500
"""Characters."""

_KINDS: Final[dict[ChangeKind, tuple[AdjustOperation, TransactionType, str]]] = {
    "receive": ("add", "IN", "Adjustment"),
    "remove": ("remove", "ADJUSTMENT", "Adjustment"),
    "count": ("set", "ADJUSTMENT", "Adjustment"),
    "damage": ("remove", "DAMAGE", "Damage"),
    "return": ("add", "RETURN", "Order"),
}
"""Kind -> what it does to on_hand, type of its ledger rows, what their reference is."""

_NO_SKU: Final = "?"
"""No product can have it: naming it makes the engine look for the record of a base and then change nothing."""
_ROUNDS: Final = 20
"""How often a difference too large for one line is tried while the SKU keeps moving."""


class StockChange(Struct, frozen=True, kw_only=True):
    """What somebody wants done to the stock."""

    kind: ChangeKind
    lines: tuple[tuple[str, int], ...]
    """(SKU, units) each; more than one only for `return`, where a SKU may stand twice."""
    reason: str
    """3-500 characters, kept in the ledger."""
    actor: str
    """Id of the API key."""
    reference: str = ""
    """`return`: the order; `receive`, `remove`, `count`: a delivery note or the like."""
    idempotency_key: str | None = None


class Identity(Struct, frozen=True):
    """Under which name a change is made, so that making it again is no second change."""

    base: str
    fingerprint: str
    """Of everything that matters in the change; the same name with another one is refused."""


def checked(change: StockChange) -> StockChange:
    """The change with a SKU named twice summed. Raises InvalidRequest for what no change may be."""
    if not MIN_REASON <= len(change.reason.strip()) <= MAX_REASON:
        raise refusals.InvalidRequest(f"{MIN_REASON} to {MAX_REASON} characters that say why", "$.reason")
    if len(change.reference) > MAX_TEXT or (change.kind == "return" and not change.reference):
        raise refusals.InvalidRequest(f"1 to {MAX_TEXT} characters", "$.order_id")
    units: dict[str, int] = {}
    lowest, highest = (0, MAX_ON_HAND) if change.kind == "count" else (1, MAX_QUANTITY)
    for sku, quantity in change.lines:
        if not is_sku(sku):
            raise refusals.InvalidRequest(f"not a SKU: {sku[:80]!r}", "$.sku")
        if not lowest <= quantity <= highest:
            raise refusals.InvalidRequest(f"must be from {lowest} to {highest}", "$.quantity")
        units[sku] = units.get(sku, 0) + quantity
        if units[sku] > highest:
            raise refusals.InvalidRequest(f"at most {highest} of one SKU", "$.items")
    if not 1 <= len(units) <= (MAX_LINES if change.kind == "return" else 1):
        raise refusals.InvalidRequest("too many lines, or none", "$.items")
    return msgspec.structs.replace(change, lines=tuple(units.items()), reason=change.reason.strip())


def identity_of(change: StockChange) -> Identity:
    """The name that (actor, Idempotency-Key) always gives; without a key, one that was never given before."""
    key = change.idempotency_key
    base = random_base() if key is None else derived_base("adjust", change.actor, key)
    parts = (change.kind, sorted(change.lines), change.reason, change.reference)
    return Identity(base, fingerprint(msgspec.json.encode(parts)))


async def execute(
    inventory: Inventory, change: StockChange, identity: Identity, *, max_units: int = 0, remembered: bool = True
) -> Result:
    """Have the engine make the change; every status is answered, refused ones too.

    `max_units`: more units than that are not moved but answered as `change_too_large`; 0: any number.
    `remembered`: making it again under the same identity answers `replayed`. Raises ReturnExceedsOrder, LedgerLate,
    Unavailable, DatabaseUnavailable.
    """
    if change.kind != "return":
        return await inventory.engine.execute(_command(change, identity, max_units, remembered))
    async with order_lock(inventory.database, change.reference):
        if remembered:
            # First of all: what came back already would count against what may come back.
            made = await made_before(inventory, change, identity)
            if made is not None:
                return made
        known = await check_return(inventory, change.reference, change.lines)
        command = _command(change, identity, max_units, remembered)
        if not known:
            command = msgspec.structs.replace(command, reference_type=EXTERNAL_ORDER)
        return await inventory.engine.execute(command)


async def execute_difference(inventory: Inventory, change: StockChange, identity: Identity, difference: int) -> Result:
    """Have the engine move on_hand of a count's SKU by what the count found too much or too little.

    Not back to the number that was counted: what was sold since has left the shelf as well. Raises as `execute`.
    """
    command = _command(change, identity, 0, True)
    ((sku, _),) = change.lines
    operation: AdjustOperation = "add" if difference > 0 else "remove"
    if 1 <= abs(difference) <= MAX_QUANTITY:
        moved = msgspec.structs.replace(command, lines=((sku, operation, abs(difference)),))
        return await inventory.engine.execute(moved)
    # More than a line may add or take: set to what it comes to, as long as nothing moves in between.
    for _ in range(_ROUNDS):
        levels = await inventory.engine.stock_levels([sku])
        on_hand = levels[0].on_hand if levels else 0
        wanted = min(max(0, on_hand + difference), MAX_ON_HAND)
        settled = msgspec.structs.replace(command, lines=((sku, "set", wanted),), expected=(on_hand,))
        result = await inventory.engine.execute(settled)
        if result.status != Status.STOCK_MOVED:
            return result
    raise refusals.StockBusy


async def made_before(inventory: Inventory, change: StockChange, identity: Identity) -> Result | None:
    """What the engine remembers of this change: `replayed` or `key_reused`; None when it was not made.

    Changes nothing. The engine remembers for the idempotency window. Raises Unavailable.
    """
    command = _command(change, identity, 0, True)
    result = await inventory.engine.execute(msgspec.structs.replace(command, lines=((_NO_SKU, "add", 1),)))
    return None if result.status == Status.UNKNOWN_SKU else result


async def committed_rows(inventory: Inventory, epoch: int, seq: int) -> tuple[Transaction, ...]:
    """The ledger rows of event `seq`, once they are committed. Raises LedgerLate, DatabaseUnavailable."""
    if epoch == inventory.epoch:
        await inventory.committed(seq, epoch)
    rows = await transactions.of_event(inventory.database, PARTITION, epoch, seq)
    if not rows:
        raise refusals.LedgerLate
    return rows


def ledger_marks(kind: ChangeKind) -> tuple[TransactionType, tuple[str, ...]]:
    """Type of the ledger rows that a change of this kind makes, and what their reference_type may be."""
    _, transaction_type, reference_type = _KINDS[kind]
    return transaction_type, (reference_type, EXTERNAL_ORDER) if kind == "return" else (reference_type,)


def refusal_of(result: Result) -> refusals.Refusal:
    """Why an adjustment with this status was not made."""
    if result.status == Status.INSUFFICIENT_STOCK:
        return refusals.InsufficientStock(result.shortages)
    if result.status == Status.UNKNOWN_SKU:
        return refusals.UnknownSku(result.skus)
    if result.status == Status.STOCK_LIMIT:
        return refusals.StockLimit()
    if result.status == Status.KEY_REUSED:
        return refusals.KeyReused()
    return refusals.InvalidRequest(f"the engine takes no such change ({result.status})")


def _command(change: StockChange, identity: Identity, max_units: int, remembered: bool) -> Adjust:
    operation, transaction_type, reference_type = _KINDS[change.kind]
    return Adjust(
        base=identity.base,
        lines=tuple((sku, operation, units) for sku, units in change.lines),
        transaction_type=transaction_type,
        reason=change.reason,
        reference_type=reference_type,
        reference_id=change.reference,
        actor=change.actor,
        fingerprint=identity.fingerprint if remembered else "",
        max_change=max_units,
    )
