"""Raw journal entries made readable, as far as they can be: what is whole, what was cleaned, what is lost.

Owns decoding and salvage; never decides what a lost event means for the stock (flush_plan.py does).

An entry comes out as one of two. `JournalEntry`: the header is good, so every event has its sequence number; an event
that cannot be read stands as `BadEvent` in its place, and one whose only fault is broken text (bytes that are not
UTF-8) is decoded with the broken bytes replaced and noted in `cleaned`. `UnreadableEntry`: not even the header can be
read, so it is not known how many events it held.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from engine.events import SCHEMA, Event, decode_entry

ACCEPTED_SCHEMAS: Final = (SCHEMA - 1, SCHEMA)
_FAULTS: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding raises; ValueError since msgspec lets UnicodeDecodeError through."""

MAX_SEQ: Final = 2**53
"""Past this the numbers of Lua are not exact; a larger one is damage."""

MAX_EPOCH: Final = 2**31 - 1
FIRST_MS: Final = 946_684_800_000
LAST_MS: Final = 253_402_300_799_000
"""Years 2000 to 9999, what timestamps can hold."""

MAX_EVENTS: Final = 1_000_000
"""Events one entry may claim; a batch has a few thousand at most."""


class BadEvent(Struct, frozen=True):
    """An event that cannot be read or applied."""

    raw: bytes
    error: str


class JournalEntry(Struct, frozen=True):
    """One batch whose header could be read."""

    stream_id: str
    raw: bytes
    epoch: int
    first_seq: int
    at_ms: int
    events: tuple[Event | BadEvent, ...]
    cleaned: dict[int, str] = {}
    """Index of an event -> what was replaced in its text."""

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event."""
        return self.first_seq + len(self.events) - 1


class UnreadableEntry(Struct, frozen=True):
    """An entry that gives nothing, not even how many events it held."""

    stream_id: str
    raw: bytes
    error: str


class _Header(Struct, frozen=True, array_like=True):
    schema: int
    epoch: int
    first_seq: int
    at_ms: int
    events: list[msgspec.Raw]


_decode_header = msgspec.msgpack.Decoder(_Header).decode
_decode_event = msgspec.msgpack.Decoder(Event).decode
_decode_fields = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_value = msgspec.msgpack.Decoder().decode


def read_entry(stream_id: str, raw: bytes) -> JournalEntry | UnreadableEntry:
    """Make one raw entry readable; never raises for its content."""
    try:
        entry = decode_entry(raw)
    except _FAULTS:
        return _salvage(stream_id, raw)
    fault = _header_fault(entry.schema, entry.epoch, entry.first_seq, entry.at_ms, len(entry.events))
    if fault:
        return UnreadableEntry(stream_id, raw, fault)
    return JournalEntry(stream_id, raw, entry.epoch, entry.first_seq, entry.at_ms, entry.events)


def _header_fault(schema: int, epoch: int, first_seq: int, at_ms: int, count: int) -> str:
    if schema not in ACCEPTED_SCHEMAS:
        return f"schema {schema} is not one of {ACCEPTED_SCHEMAS}"
    if not (1 <= epoch <= MAX_EPOCH and 1 <= first_seq <= MAX_SEQ and FIRST_MS <= at_ms <= LAST_MS):
        return "a number of the header is out of bounds"
    if not 1 <= count <= MAX_EVENTS:
        return f"{count} events"
    return ""


def _salvage(stream_id: str, raw: bytes) -> JournalEntry | UnreadableEntry:
    try:
        header = _decode_header(raw)
    except _FAULTS as error:
        return UnreadableEntry(stream_id, raw, f"not an entry: {error}")
    fault = _header_fault(header.schema, header.epoch, header.first_seq, header.at_ms, len(header.events))
    if fault:
        return UnreadableEntry(stream_id, raw, fault)
    events: list[Event | BadEvent] = []
    cleaned: dict[int, str] = {}
    for index, part in enumerate(header.events):
        body = bytes(part)
        try:
            events.append(_decode_event(body))
        except _FAULTS as error:
            event = _with_replaced_bytes(body)
            if event is None:
                events.append(BadEvent(body, f"not an event: {error}"))
            else:
                events.append(event)
                cleaned[index] = "bytes that are not UTF-8 were replaced"
    return JournalEntry(stream_id, raw, header.epoch, header.first_seq, header.at_ms, tuple(events), cleaned)


def _with_replaced_bytes(body: bytes) -> Event | None:
    """The event with what is not UTF-8 in its texts replaced by U+FFFD; None when that was not its only fault."""
    try:
        fields = [_field(bytes(part)) for part in _decode_fields(body)]
        event: Event = msgspec.convert(fields, Event)
    except _FAULTS:
        return None
    return event


def _field(part: bytes) -> object:
    start = _text_start(part)
    if start is None:
        value: object = _decode_value(part)
        return value
    return part[start:].decode(errors="replace")


def _text_start(part: bytes) -> int | None:
    """Where the bytes of a msgpack string begin; None when it is no string."""
    kind = part[0]
    if 0xA0 <= kind <= 0xBF:
        return 1
    return {0xD9: 2, 0xDA: 3, 0xDB: 5}.get(kind)
