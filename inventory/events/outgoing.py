"""Journal events as the outside gets them, in SSE and in webhooks: one JSON shape, one id each.

Owns what each type carries; never where events come from (log.py, worker/follower.py) or how they travel. There is
exactly one outgoing event for each sequence number, so a reader can see that nothing is missing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from engine.events import (
    Adjusted,
    Amended,
    Announced,
    Configured,
    Confirmed,
    Event,
    Expired,
    Line,
    Released,
    Reserved,
    event_lines,
)
from engine.results import Details
from inventory.context import PARTITION
from inventory.events.kinds import UNREADABLE
from persistence.journal_entries import LAST_MS, BadEvent, JournalEntry

_encode: Final = msgspec.json.encode
_details: Final = msgspec.json.Decoder(Details).decode
_FAULTS: Final = (ValueError, IndexError, OverflowError, RecursionError, msgspec.MsgspecError)
_TYPE: Final = re.compile(r"[a-z_]{1,40}\.[a-z_]{1,40}\Z")


class OutgoingEvent(Struct, frozen=True):
    """One event. Its order is that of (epoch, seq) within its partition."""

    id: str
    """`<partition>-<epoch>-<seq>`: never given twice, the same wherever the event is seen."""
    type: str
    at_ms: int
    """Server clock of the batch, Unix milliseconds."""
    data: Raw
    """JSON object; what it holds depends on the type."""

    @property
    def document(self) -> bytes:
        """The whole event as JSON: `id`, `type`, `at`, `partition`, `epoch`, `seq`, `data`."""
        partition, epoch, seq = self.id.split("-")
        return b'{"id":"%b","type":%b,"at":"%b","partition":%b,"epoch":%b,"seq":%b,"data":%b}' % (
            self.id.encode(),
            _encode(self.type),
            rfc3339(self.at_ms).encode(),
            partition.encode(),
            epoch.encode(),
            seq.encode(),
            bytes(self.data),
        )


class _Created(Struct, frozen=True):
    id: str
    customer_id: str
    cart_id: str | None
    lines: list[Line]
    expires_at: str
    actor: str


class _Amended(Struct, frozen=True):
    id: str
    lines: list[Line]
    expires_at: str
    actor: str


class _Confirmed(Struct, frozen=True):
    id: str
    order_id: str | None
    lines: list[Line]
    late: bool
    actor: str


class _Released(Struct, frozen=True):
    id: str
    lines: list[Line]
    actor: str


class _Expired(Struct, frozen=True):
    id: str
    lines: list[Line]


class _Adjusted(Struct, frozen=True):
    id: str | None
    """None for a product's opening stock."""
    transaction_type: str
    reason: str
    reference_type: str | None
    reference_id: str | None
    lines: list[Line]
    actor: str


class _Changed(Struct, frozen=True):
    sku: str
    safety_stock: int
    low_stock_threshold: int
    active: bool
    created: bool
    lines: list[Line]
    actor: str


class _Unreadable(Struct, frozen=True):
    reason: str


def outgoing_events(entry: JournalEntry) -> list[OutgoingEvent]:
    """Every event of one journal entry, in sequence. Never raises for what an entry holds."""
    return [
        outgoing_event(entry.epoch, entry.first_seq + index, entry.at_ms, event)
        for index, event in enumerate(entry.events)
    ]


def outgoing_event(epoch: int, seq: int, at_ms: int, event: Event | BadEvent) -> OutgoingEvent:
    """The outgoing event with this sequence number."""
    try:
        kind, data = _MAKERS[type(event)](event)
    except _FAULTS as error:
        # The ledger has set such an event aside as well; its number must be seen to be passed.
        kind, data = UNREADABLE, _Unreadable(f"the event cannot be read: {type(error).__name__}")
    return OutgoingEvent(event_id(epoch, seq), kind, at_ms, data if isinstance(data, Raw) else Raw(_encode(data)))


def unreadable_event(epoch: int, seq: int, at_ms: int) -> OutgoingEvent:
    """What stands for a sequence number that the ledger has passed without being able to read anything of it."""
    data = _Unreadable("a journal entry could not be read; it was set aside")
    return OutgoingEvent(event_id(epoch, seq), UNREADABLE, at_ms, Raw(_encode(data)))


def event_id(epoch: int, seq: int) -> str:
    """The id of an event."""
    return f"{PARTITION}-{epoch}-{seq}"


def rfc3339(at_ms: int) -> str:
    """Unix milliseconds as RFC 3339 UTC with milliseconds. Raises ValueError past the year 9999."""
    if not 0 <= at_ms <= LAST_MS:
        raise ValueError("no time that a calendar has")
    second, ms = divmod(at_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{ms:03d}Z"


def _of_reserved(event: Reserved) -> tuple[str, Struct]:
    details = _details(event.details)
    data = _Created(
        event.id,
        details.customer_id,
        details.cart_id,
        event_lines(event.lines),
        rfc3339(event.deadline_ms),
        event.owner,
    )
    return "reservation.created", data


def _of_amended(event: Amended) -> tuple[str, Struct]:
    data = _Amended(event.id, event_lines(event.lines), rfc3339(event.deadline_ms), event.actor)
    return "reservation.amended", data


def _of_confirmed(event: Confirmed) -> tuple[str, Struct]:
    data = _Confirmed(event.id, event.order_id or None, event_lines(event.lines), event.late, event.actor)
    return "reservation.confirmed", data


def _of_released(event: Released) -> tuple[str, Struct]:
    return "reservation.released", _Released(event.id, event_lines(event.lines), event.actor)


def _of_expired(event: Expired) -> tuple[str, Struct]:
    return "reservation.expired", _Expired(event.id, event_lines(event.lines))


def _of_adjusted(event: Adjusted) -> tuple[str, Struct]:
    data = _Adjusted(
        event.id or None,
        event.transaction_type,
        event.reason,
        event.reference_type or None,
        event.reference_id or None,
        event_lines(event.lines),
        event.actor,
    )
    return "stock.adjusted", data


def _of_configured(event: Configured) -> tuple[str, Struct]:
    lines = event_lines(event.lines)
    data = _Changed(
        lines[0].sku,
        event.safety_stock,
        event.low_stock_threshold,
        event.active,
        event.created,
        lines,
        event.actor,
    )
    return "product.changed", data


def _of_announced(event: Announced) -> tuple[str, Raw]:
    # Any type of this form: a newer process may announce what this one has not heard of.
    if _TYPE.match(event.event_type) is None:
        raise ValueError("not the name of an event type")
    # Compact, since a line break between its tokens would end a field of SSE.
    return event.event_type, Raw(msgspec.json.format(event.data.encode(), indent=-1))


def _of_bad(_: BadEvent) -> tuple[str, Struct]:
    return UNREADABLE, _Unreadable("a journal event could not be read; it was set aside")


_MAKERS: Final[dict[type, Callable[[Any], tuple[str, Struct | Raw]]]] = {
    Reserved: _of_reserved,
    Amended: _of_amended,
    Confirmed: _of_confirmed,
    Released: _of_released,
    Expired: _of_expired,
    Adjusted: _of_adjusted,
    Configured: _of_configured,
    Announced: _of_announced,
    BadEvent: _of_bad,
}
