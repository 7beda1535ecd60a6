"""The event log: outgoing events after a position, as the ledger has them, however long ago that is.

Owns positions, how an event's id names one, and reading from the archive in Postgres; never waits for what has not
happened yet (feed.py) and never reads Redis (tail.py).
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from msgspec import Struct

from inventory.context import PARTITION
from inventory.events.outgoing import OutgoingEvent, event_id, outgoing_event, unreadable_event
from inventory.refusals import EventsGone, InvalidRequest, UnknownEvent
from persistence.database import Database
from persistence.journal_entries import JournalEntry
from persistence.queries import journal_archive
from persistence.queries.journal_archive import Position

OLDEST: Final = "oldest"
"""Instead of an id: begin with the oldest event there is."""

ENTRIES_READ: Final = 32
"""Journal entries (batches) read from the archive at once."""

_ID: Final = re.compile(rf"{PARTITION}-([1-9][0-9]{{0,9}})-([0-9]{{1,16}})\Z", re.ASCII)
_MAX_EPOCH: Final = 2**31 - 1


class LoggedEvent(Struct, frozen=True):
    """An event ready to be sent."""

    epoch: int
    seq: int
    type: str
    document: bytes
    """The whole event as JSON."""

    @property
    def id(self) -> str:
        """As in the document."""
        return event_id(self.epoch, self.seq)


def position_of(text: str) -> Position:
    """The position behind the event with this id. Raises InvalidRequest."""
    found = _ID.match(text)
    if found is None or int(found[1]) > _MAX_EPOCH:
        raise InvalidRequest(f"not the id of an event, nor `{OLDEST}`", "Last-Event-ID")
    return Position(int(found[1]), int(found[2]))


def id_of(position: Position) -> str:
    """The id that leads back to this position."""
    return event_id(position.epoch, position.seq)


async def where_to_begin(database: Database, last_event_id: str | None) -> Position:
    """The position behind the event that a reader met last; without one, where the ledger stands now.

    Raises InvalidRequest, EventsGone when what follows it is no longer kept, UnknownEvent when the ledger has not come
    that far, DatabaseUnavailable.
    """
    given = None if last_event_id in {None, OLDEST} else position_of(last_event_id or "")
    extent = await journal_archive.extent(database, PARTITION)
    if given is None:
        return extent.newest if last_event_id is None else extent.oldest
    if given > extent.newest:
        raise UnknownEvent(f"The ledger stands at {id_of(extent.newest)}.")
    if given < extent.oldest:
        raise EventsGone(id_of(extent.oldest))
    return given


async def read_after(database: Database, position: Position) -> list[LoggedEvent]:
    """The next events after `position`, one for each sequence number; empty when the ledger has none yet.

    Raises EventsGone when the archive no longer reaches back that far, DatabaseUnavailable.
    """
    entries = await journal_archive.read_after(database, position, ENTRIES_READ, PARTITION)
    if entries and not follows(position, entries[0].epoch, entries[0].first_seq):
        # Either it was forgotten since the reader began, or nobody could ever read it.
        extent = await journal_archive.extent(database, PARTITION)
        if position < extent.oldest:
            raise EventsGone(id_of(extent.oldest))
    events: list[LoggedEvent] = []
    for entry in entries:
        events += events_of(entry, position)
        position = Position(entry.epoch, entry.last_seq)
        # Making events of a large batch takes milliseconds: what else this process does comes in between.
        await asyncio.sleep(0)
    return events


def follows(position: Position, epoch: int, first_seq: int) -> bool:
    """True if nothing lies between `position` and an entry that begins at (`epoch`, `first_seq`)."""
    return epoch > position.epoch or first_seq <= position.seq + 1


def events_of(entry: JournalEntry, after: Position) -> list[LoggedEvent]:
    """The events of an entry that lie behind `after`; for numbers that are missing before it, what says so."""
    begin = entry.first_seq
    events = []
    if entry.epoch == after.epoch:
        events = [
            _logged(entry.epoch, seq, unreadable_event(entry.epoch, seq, entry.at_ms))
            for seq in range(after.seq + 1, begin)
        ]
        begin = max(begin, after.seq + 1)
    for seq in range(begin, entry.last_seq + 1):
        event = outgoing_event(entry.epoch, seq, entry.at_ms, entry.events[seq - entry.first_seq])
        events.append(_logged(entry.epoch, seq, event))
    return events


def _logged(epoch: int, seq: int, event: OutgoingEvent) -> LoggedEvent:
    return LoggedEvent(epoch, seq, event.type, event.document)
