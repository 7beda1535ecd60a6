"""Orders: what it means that one was created or cancelled. Created sells its holds, cancelled puts its units back.

Owns both rules, for HTTP and for the stream alike. The units of an order are what its ledger rows say, never what an
event says; so every event may be told as often as one likes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

from msgspec import UNSET, Struct

from engine.commands import Adjust, Confirm, Read
from engine.identity import derived_base, fingerprint, is_reservation_id, split_id
from engine.limits import MAX_LINES, MAX_QUANTITY
from inventory.order_events import DEFAULT_REASON, OrderCancelled, OrderCreated, OrderEvent
from inventory.refusals import (
    InvalidRequest,
    ReservationExpired,
    ReservationNotActive,
    ReservationStateUnknown,
    StockLimit,
    UnknownOrder,
    UnknownReservation,
    UnknownSku,
)
from inventory.refusals import OrderCancelled as OrderIsCancelled
from inventory.stored_reservations import stored_reservation
from persistence.queries import orders, reservations
from persistence.queries.order_lock import order_lock

if TYPE_CHECKING:
    from engine.results import Reservation, Result
    from inventory.context import Inventory
    from persistence.queries.orders import OrderLedger
    from persistence.queries.transactions import Transaction

ROUNDS: Final = 3
"""How often a created event is looked at anew because a reservation aged out of Redis meanwhile."""


class Reporter(Struct, frozen=True):
    """Who reports an order."""

    actor: str
    """Goes into the ledger as created_by."""
    owner: str = ""
    """Only reservations of this API key are found; empty: everybody's."""


class OrderOutcome(Struct, frozen=True):
    """What an event came to. Repeating the event gives the same."""

    order_id: str
    status: Literal["COMPLETED", "CANCELLED"]
    reservations: tuple[Reservation, ...]
    transactions: tuple[Transaction, ...]
    """Ledger rows: the sales of these reservations, or what the cancellation put back."""
    now_ms: int
    """Server clock, Unix milliseconds."""


async def report_order(inventory: Inventory, reporter: Reporter, event: OrderEvent) -> OrderOutcome:
    """Do what the event says, and return once the ledger has it. `event` has passed `order_events.check_event`.

    Raises a Refusal with nothing changed, LedgerLate when the outcome is made but not yet known to be in the ledger,
    Unavailable and DatabaseUnavailable when it is not known at all. After these three, repeat the event.
    """
    if isinstance(event, OrderCreated):
        return await _created(inventory, reporter, event)
    return await _cancelled(inventory, reporter, event)


async def _created(inventory: Inventory, reporter: Reporter, event: OrderCreated) -> OrderOutcome:
    ids = list(dict.fromkeys(event.reservation_ids))
    if not all(map(is_reservation_id, ids)):
        raise UnknownReservation
    if len({split_id(one)[0] for one in ids}) != len(ids):
        # Two ids of one idempotency key, of which at most one can be alive.
        raise InvalidRequest("two of the reservations cannot both exist", "$.reservation_ids")
    before = await orders.ledger_of(inventory.database, event.order_id)
    new = set(ids) - set(before.reservation_ids if before is not None else ())
    if new and before is not None and before.cancelled:
        raise OrderIsCancelled
    sold, now_ms = await _sell(inventory, reporter, ids, event.order_id)
    ledger = await orders.ledger_of(inventory.database, event.order_id)
    if new and ledger is not None and ledger.cancelled:
        # Cancelled in the very moment of the sale. Whichever came second in the journal sees the other's rows in the
        # ledger: either the cancellation has put these units back, or it is done here.
        await _put_back_all(inventory, reporter.actor, event.order_id, DEFAULT_REASON)
        raise OrderIsCancelled
    wanted = set(ids)
    rows = tuple(row for row in ledger.transactions if row.reservation_id in wanted) if ledger else ()
    return OrderOutcome(event.order_id, "COMPLETED", sold, rows, now_ms)


async def _sell(
    inventory: Inventory, reporter: Reporter, ids: list[str], order_id: str
) -> tuple[tuple[Reservation, ...], int]:
    """Confirm what is held, all or none; what this order has bought before counts as done, however long ago.

    Gives every reservation in the order of `ids`, and the server's clock.
    """
    remembered: dict[str, Reservation] = {}
    for _ in range(ROUNDS):
        asked = [one for one in ids if one not in remembered]
        result = await _confirm(inventory, reporter, asked, order_id)
        if result is not None:
            found = remembered | {one.id: one for one in result.reservations}
            return tuple(found[one] for one in ids), result.now_ms
        remembered |= await _sold_long_ago(inventory, reporter, asked, order_id)
        if len(remembered) == len(ids):
            return tuple(remembered[one] for one in ids), time.time_ns() // 1_000_000
    # Something ages out of Redis at each look, and a live hold never does: asking again will tell.
    raise ReservationStateUnknown


async def _confirm(inventory: Inventory, reporter: Reporter, ids: list[str], order_id: str) -> Result | None:
    """The holds sold and in the ledger; None when Redis does not know one of them, and then nothing is sold."""
    command = Confirm(
        tuple(map(split_id, ids)), order_id, reporter.owner, reporter.actor, inventory.settings.late_confirm
    )
    result = await inventory.engine.execute(command)
    if result.status == "unknown_reservation":
        return None
    if result.status == "expired":
        raise ReservationExpired(result.reservations[0], result.now_ms)
    if result.status == "not_active":
        raise ReservationNotActive(result.reservations[0], result.now_ms)
    if result.status not in {"ok", "replayed"}:
        raise ReservationStateUnknown
    await inventory.committed(result.seq, result.epoch)
    return result


async def _sold_long_ago(
    inventory: Inventory, reporter: Reporter, ids: list[str], order_id: str
) -> dict[str, Reservation]:
    """Those of `ids` that only Postgres knows, all sold to this order.

    Raises for the first that is unknown to both, or has ended in another way: then nothing may be sold.
    """
    results = await inventory.engine.apply([Read(*split_id(one), reporter.owner) for one in ids])
    missing = [(one, result) for one, result in zip(ids, results, strict=True) if result.status != "ok"]
    if missing:
        # What Redis has let go was over long ago, but a flusher may be behind even that.
        await inventory.committed(missing[-1][1].seq, missing[-1][1].epoch)
    found = {}
    for reservation_id, result in missing:
        stored = await stored_reservation(inventory.database, reservation_id, reporter.owner, result.now_ms)
        if stored is None:
            raise UnknownReservation
        if stored.status == "EXPIRED":
            raise ReservationExpired(stored, result.now_ms)
        if stored.status != "COMPLETED" or stored.order_id != order_id:
            raise ReservationNotActive(stored, result.now_ms)
        found[reservation_id] = stored
    return found


async def _cancelled(inventory: Inventory, reporter: Reporter, event: OrderCancelled) -> OrderOutcome:
    await inventory.caught_up()
    ledger = await orders.ledger_of(inventory.database, event.order_id)
    sold = await _reservations_of(inventory, event.order_id) if ledger is not None else []
    if ledger is None or not any(one.sold for one in ledger.units):
        raise UnknownOrder
    if reporter.owner and (not sold or any(one.owner != reporter.owner for one in sold)):
        raise UnknownOrder
    if ledger.outstanding:
        reason = ("" if event.reason is UNSET else event.reason.strip()) or DEFAULT_REASON
        ledger = await _put_back_all(inventory, reporter.actor, event.order_id, reason)
    rows = tuple(row for row in ledger.transactions if row.transaction_type == "IN")
    return OrderOutcome(event.order_id, "CANCELLED", tuple(sold), rows, time.time_ns() // 1_000_000)


async def _put_back_all(inventory: Inventory, actor: str, order_id: str, reason: str) -> OrderLedger:
    """Put back what the order has sold and not got back yet, until nothing is left; gives its ledger then.

    An adjustment takes MAX_LINES SKUs, so a large order takes several. The n-th has an id made of order and n: a
    repeat, after whatever crash, meets it instead of making another. Each is in the ledger before the next is made,
    and what is left is read anew each time, so it does not matter where one stopped.
    """
    async with order_lock(inventory.database, order_id):
        # Whoever held the lock before may have died with a change made and not yet in the ledger.
        await inventory.caught_up()
        made = -1
        while True:
            ledger = await orders.ledger_of(inventory.database, order_id)
            if ledger is None:
                raise UnknownOrder
            if not ledger.outstanding:
                return ledger
            if ledger.put_backs == made:
                # It was done before, says the engine, and the ledger has no row of it: it was set aside there, and
                # asking again would be answered the same for ever.
                raise ReservationStateUnknown
            made = ledger.put_backs
            await _put_back(inventory, actor, ledger, reason)


async def _put_back(inventory: Inventory, actor: str, ledger: OrderLedger, reason: str) -> None:
    order_id, part = ledger.order_id, ledger.put_backs
    command = Adjust(
        base=derived_base("order.cancelled", "", order_id if part == 0 else f"{order_id}\n{part}"),
        lines=tuple((one.sku, "add", min(one.outstanding, MAX_QUANTITY)) for one in ledger.outstanding[:MAX_LINES]),
        transaction_type="IN",
        reason=reason,
        reference_type="Order",
        reference_id=order_id,
        actor=actor,
        fingerprint=fingerprint(order_id.encode()),
    )
    result = await inventory.engine.execute(command)
    if result.status == "stock_limit":
        raise StockLimit
    if result.status == "unknown_sku":
        raise UnknownSku(result.skus)
    if result.status not in {"ok", "replayed"}:
        raise ReservationStateUnknown
    await inventory.committed(result.seq, result.epoch)


async def _reservations_of(inventory: Inventory, order_id: str) -> list[Reservation]:
    """Every reservation of the order, oldest first."""
    found: list[Reservation] = []
    cursor: str | None = None
    while True:
        wanted = reservations.ReservationFilter(order_id=order_id)
        page = await reservations.page(inventory.database, wanted, 500, cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found[::-1]
