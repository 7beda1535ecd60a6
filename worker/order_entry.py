"""An entry of the orders stream: its fields, made into the JSON body that POST /inventory/orders takes.

Owns the two forms an entry may have. Never decides whether the body is right (inventory/order_events.py does).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

MAX_BODY_BYTES: Final = 1_048_576
"""An event of 1,000 reservations has about 40 kB."""

_FLAT: Final = frozenset({b"type", b"order_id", b"reservation_ids", b"reason"})


class UnreadableEntry(Exception):
    """The entry has neither form; the message says what is wrong with it."""


class Entry(Struct, frozen=True):
    """One entry as Redis gave it."""

    stream_id: str
    fields: dict[bytes, bytes]

    def body(self) -> bytes:
        """The event as JSON. Raises UnreadableEntry.

        Either a field `event` with the JSON, and other fields are the sender's own; or the event's members as fields
        of the same names, `reservation_ids` as a JSON list or separated by commas.
        """
        event = self.fields.get(b"event")
        if event is not None:
            if len(event) > MAX_BODY_BYTES:
                raise UnreadableEntry(f"an event has at most {MAX_BODY_BYTES} bytes, not {len(event)}")
            return event
        if b"type" not in self.fields:
            raise UnreadableEntry("neither a field `event` nor a field `type`")
        unknown = sorted(self.fields.keys() - _FLAT)
        if unknown:
            raise UnreadableEntry(f"unknown field {_text(unknown[0])[:80]!r}")
        if sum(map(len, self.fields.values())) > MAX_BODY_BYTES:
            raise UnreadableEntry(f"an event has at most {MAX_BODY_BYTES} bytes")
        try:
            members: dict[str, object] = {name.decode(): value.decode() for name, value in self.fields.items()}
        except UnicodeDecodeError:
            raise UnreadableEntry("a field is not UTF-8") from None
        ids = members.get("reservation_ids")
        if isinstance(ids, str):
            members["reservation_ids"] = _ids(ids)
        return msgspec.json.encode(members)

    def as_kept(self) -> bytes:
        """What a dead letter keeps: the event as it would be retried, or else all fields as JSON, cut at 1 MiB."""
        try:
            return self.body()
        except UnreadableEntry:
            event = self.fields.get(b"event")
            kept = event if event is not None else _readable(self.fields)
            return kept[:MAX_BODY_BYTES]


def _ids(text: str) -> object:
    if text.lstrip().startswith("["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise UnreadableEntry("`reservation_ids` is neither a JSON list nor ids separated by commas") from None
    return [part.strip() for part in text.split(",")]


def _readable(fields: Mapping[bytes, bytes]) -> bytes:
    return json.dumps({_text(name): _text(value) for name, value in fields.items()}).encode()


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
