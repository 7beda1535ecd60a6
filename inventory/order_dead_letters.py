"""Order events of the stream that could not be applied: what a person does with them. Set aside, looked at, retried.

Owns the retry; the reading of the stream stands in worker/order_stream.py, the rules of orders in orders.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inventory.order_events import read_event
from inventory.orders import OrderOutcome, Reporter, report_order
from inventory.refusals import LedgerLate, Refusal, ReservationStateUnknown, UnknownDeadLetter
from persistence.queries import order_dead_letters

if TYPE_CHECKING:
    from inventory.context import Inventory

MAX_DETAIL: Final = 500
"""Characters of a refusal's sentence that are kept."""

PASSING: Final = (LedgerLate, ReservationStateUnknown)
"""Refusals that say nothing about the event: the same event may be applied a moment later."""


async def set_aside(
    inventory: Inventory, *, stream: str, stream_id: str, body: bytes, order_id: str | None, refusal: Refusal
) -> None:
    """Keep an entry of the stream that cannot be applied. The same entry again counts as another attempt.

    Raises DatabaseUnavailable; safe to repeat.
    """
    await order_dead_letters.put(
        inventory.database,
        stream=stream,
        stream_id=stream_id,
        body=body,
        order_id=order_id,
        code=refusal.code,
        detail=detail_of(refusal),
    )


async def retry(inventory: Inventory, letter_id: int, actor: str) -> OrderOutcome:
    """Apply the event now, in the name of `actor` (id of an API key); done once before gives the same outcome again.

    Raises UnknownDeadLetter, and whatever the event itself is refused with: that is then on record as one more
    attempt, unless it is of a kind that passes by itself.
    """
    letter = await order_dead_letters.get(inventory.database, letter_id)
    if letter is None:
        raise UnknownDeadLetter
    try:
        outcome = await report_order(inventory, Reporter(actor), read_event(letter.body))
    except PASSING:
        raise
    except Refusal as refusal:
        await order_dead_letters.failed_again(inventory.database, letter_id, refusal.code, detail_of(refusal))
        raise
    await order_dead_letters.resolve(inventory.database, letter_id, actor)
    return outcome


def detail_of(refusal: Refusal) -> str:
    """What a refusal says, as it is kept: where it found fault included, no NUL, which Postgres cannot keep."""
    at = getattr(refusal, "at", "")
    text = f"{refusal.detail} at {at}" if at and refusal.detail else refusal.detail
    return text.encode("utf-8", "replace").decode().replace("\x00", "")[:MAX_DETAIL]
