"""Outgoing events: one for each sequence number, one line each, whatever the journal holds."""

from __future__ import annotations

import json

import pytest

from engine.events import Adjusted, Announced, Configured, Confirmed, Event, Expired, Released, Reserved
from inventory.events.kinds import EVENT_TYPES
from inventory.events.log import LoggedEvent, events_of, position_of
from inventory.events.outgoing import outgoing_events
from inventory.refusals import InvalidRequest
from persistence.journal_entries import BadEvent, JournalEntry
from persistence.queries.journal_archive import Position

AT_MS = 1_800_000_000_123
ID = f"{7:024x}{AT_MS:012x}"


def entry(*events: Event | BadEvent, epoch: int = 1, first_seq: int = 1) -> JournalEntry:
    return JournalEntry("1-1", b"", epoch, first_seq, AT_MS, events)


def one(event: Event | BadEvent) -> dict[str, object]:
    (outgoing,) = outgoing_events(entry(event))
    assert b"\n" not in outgoing.document
    assert b"\r" not in outgoing.document
    found: dict[str, object] = json.loads(outgoing.document)
    assert found["type"] in EVENT_TYPES
    return found


HOSTILE = ["a\nb", "a\r\nid: 0-1-9", "\u2028\u2029", '"}\n\ndata: {}', "\x00\x1f", "データ", "\\u000a", "x" * 100_000]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_never_breaks_the_line(text: str) -> None:
    adjusted = one(Adjusted(ID, "A=1=1=0", "IN", text, text, text, text))
    assert adjusted["data"]["reason"] == adjusted["data"]["reference_id"] == adjusted["data"]["actor"] == text  # type: ignore[index]
    confirmed = one(Confirmed(ID, "A=1=1=0", text, "", False))
    assert confirmed["data"]["order_id"] == text  # type: ignore[index]
    details = json.dumps({"c": text, "b": text})
    created = one(Reserved(ID, "A=1=1=1", AT_MS, "", "", details))
    assert created["data"]["customer_id"] == created["data"]["cart_id"] == text  # type: ignore[index]
    announced = one(Announced(ID, "stock.low", json.dumps({"text": text}, indent=2), "system"))
    assert announced["data"] == {"text": text}


@pytest.mark.parametrize(
    "event",
    [
        BadEvent(b"\xff", "not an event"),
        Adjusted(ID, "A=1", "IN", "", "", "", ""),
        Adjusted(ID, "A=nan=1=1", "IN", "", "", "", ""),
        Released(ID, "=,=", ""),
        Configured("", 0, 0, True, False, ""),
        Reserved(ID, "A=1=1=1", AT_MS, "", "", "{{"),
        Reserved(ID, "A=1=1=1", 10**18, "", "", '{"c":"c"}'),
        Expired(ID, "A=1=1=" + "9" * 5000),
        Announced(ID, "stock.low", "{", "system"),
        Announced(ID, "stock.low", '{"a":1}{"b":2}', "system"),
        Announced(ID, "stock.low\nid: 0-1-9", "{}", "system"),
    ],
)
def test_what_cannot_be_read_is_told_as_that(event: Event | BadEvent) -> None:
    found = one(event)
    assert (found["type"], found["id"]) == ("journal.unreadable", "0-1-1")


def ids(events: list[LoggedEvent]) -> list[str]:
    return [event.id for event in events]


def test_from_a_position_in_the_middle_and_across_what_is_missing() -> None:
    events = entry(*[Expired(ID, "A=1=1=0")] * 3, first_seq=5)
    assert ids(events_of(events, Position(1, 4))) == ["0-1-5", "0-1-6", "0-1-7"]
    assert ids(events_of(events, Position(1, 6))) == ["0-1-7"]
    assert ids(events_of(events, Position(1, 2))) == ["0-1-3", "0-1-4", "0-1-5", "0-1-6", "0-1-7"]
    assert [event.type for event in events_of(events, Position(1, 2))][:3] == [
        "journal.unreadable",
        "journal.unreadable",
        "reservation.expired",
    ]
    assert ids(events_of(entry(Expired(ID, "A=1=1=0"), epoch=2), Position(1, 99))) == ["0-2-1"]


def test_ids_lead_to_positions() -> None:
    assert position_of("0-1-0") == Position(1, 0)
    assert position_of("0-2147483647-9007199254740992") == Position(2**31 - 1, 2**53)
    with pytest.raises(InvalidRequest):
        position_of("0-2147483648-1")
