"""What an order system reports, and how its bytes are read: the same two events by HTTP and from the stream.

Owns the shape of the events and every check of it; what they do to the stock stands in orders.py.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from engine import limits
from inventory.refusals import InvalidRequest, MalformedEvent
from inventory.strict_json import NotStrict, check_strict

DEFAULT_REASON: Final = "order cancelled"
"""Stands in the ledger when a cancellation gives none, or a blank one."""

OrderId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.MAX_TEXT,
        description="1-255 characters, no control characters",
        extra_json_schema={"pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$", "examples": ["c-1042"]},
    ),
]
ReservationId = Annotated[str, Meta(min_length=1, max_length=64, description="36 hex digits")]
Reason = Annotated[
    str,
    Meta(
        # As the shop has it from its customer: units must not stay away because a word is short.
        max_length=500,
        description="up to 500 characters, kept in the ledger",
        examples=["changed her mind"],
    ),
]


class OrderCreated(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="order.created"):
    """The order that some holds became: all of them are confirmed, or none."""

    order_id: OrderId
    reservation_ids: Annotated[list[ReservationId], Meta(min_length=1, max_length=limits.MAX_CONFIRM_RESERVATIONS)]


class OrderCancelled(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="order.cancelled"):
    """The order is off: what it took and has not given back yet is put back."""

    order_id: OrderId
    reason: Reason | UnsetType = UNSET


OrderEvent = OrderCreated | OrderCancelled

_decoder: Final = msgspec.json.Decoder(OrderEvent)
_UNKEEPABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_AT: Final = re.compile(r"^(?P<message>.*?) - at `(?P<at>[^`]*)`$", re.DOTALL)


def read_event(body: bytes) -> OrderEvent:
    """The event in `body`, the JSON of POST /inventory/orders, with every check made.

    Raises MalformedEvent for what is not JSON or names a field twice, InvalidRequest for what breaks a bound.
    """
    try:
        check_strict(body)
    except NotStrict as error:
        raise MalformedEvent(str(error)) from None
    try:
        event: OrderEvent = _decoder.decode(body)
    except msgspec.ValidationError as error:
        match = _AT.match(str(error)[:300])
        raise (
            InvalidRequest(match["message"], match["at"]) if match else InvalidRequest(str(error)[:300], "$")
        ) from None
    except (ValueError, RecursionError):
        # Well-formed for a lenient parser, yet not for us: NaN, Infinity, a lone surrogate, a raw control character.
        raise InvalidRequest(
            "a value is not valid JSON (NaN, Infinity, lone surrogate or control character)", "$"
        ) from None
    check_event(event)
    return event


def check_event(event: OrderEvent) -> None:
    """The checks that the types leave open. Raises InvalidRequest."""
    if _UNKEEPABLE.search(event.order_id):
        raise InvalidRequest("control characters and lone surrogates are not allowed", "$.order_id")
    reason = "" if isinstance(event, OrderCreated) or event.reason is UNSET else event.reason
    if _UNKEEPABLE.search(reason.replace("\n", " ").replace("\t", " ")):
        raise InvalidRequest("control characters and lone surrogates are not allowed", "$.reason")
