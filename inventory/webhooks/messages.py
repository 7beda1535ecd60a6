"""What a webhook is sent: the outgoing event in the form that Standard Webhooks recommends.

Owns the body's shape. It is made once an event, so that every attempt carries the same bytes.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from inventory.events.outgoing import OutgoingEvent, rfc3339

_encode = msgspec.json.encode


class Message(Struct, frozen=True):
    """The body. `partition`, `epoch` and `seq` place an event of the journal; a test event has none."""

    type: str
    timestamp: str
    """When it happened, RFC 3339 UTC."""
    data: Raw
    id: str
    partition: int | UnsetType = UNSET
    epoch: int | UnsetType = UNSET
    seq: int | UnsetType = UNSET


_decode = msgspec.json.Decoder(Message).decode


def event_message(event: OutgoingEvent) -> str:
    """The body for an event of the journal."""
    partition, epoch, seq = map(int, event.id.split("-"))
    return _encode(Message(event.type, rfc3339(event.at_ms), event.data, event.id, partition, epoch, seq)).decode()


def own_message(message_id: str, kind: str, at_ms: int, data: Struct) -> str:
    """The body for something that stands in no journal."""
    return _encode(Message(kind, rfc3339(at_ms), Raw(_encode(data)), message_id)).decode()


def data_of(body: str) -> bytes:
    """The `data` object of a body."""
    return bytes(_decode(body).data)
