"""The feed: readers that wait for events, each at its own pace.

Owns the readers of one process and how long they wait. A reader holds a position and nothing else: it takes what lies
behind it from the tail in memory (tail.py), or, when it is too slow for that, from the archive (log.py). So there is no
queue that a slow reader could fill, and nobody who waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from inventory.context import PARTITION, Inventory
from inventory.events import log
from inventory.events.log import LoggedEvent
from inventory.events.tail import JournalTail, TailSettings
from inventory.refusals import TooManyStreams
from persistence.queries.journal_archive import Position

ARCHIVE_READERS: Final = 2
"""Readers that may ask the archive at the same time: the pool's other connections are for requests."""


class EventFeed:
    """All readers of one process. Bound to the event loop that first uses it."""

    def __init__(self, inventory: Inventory, most_readers: int = 100, tail: TailSettings | None = None) -> None:
        """`most_readers`: streams open at the same time; one more raises TooManyStreams."""
        self.inventory = inventory
        self.closing = asyncio.Event()
        """Set when every stream has to end."""
        self.tail = JournalTail(inventory.engine, inventory.database, inventory.watermark, tail)
        self.archive = asyncio.Semaphore(ARCHIVE_READERS)
        self._most_readers = most_readers
        self._readers = 0

    @property
    def readers(self) -> int:
        """Streams that are open."""
        return self._readers

    @asynccontextmanager
    async def reader(self, last_event_id: str | None) -> AsyncIterator[Reader]:
        """A reader behind the event with this id (see log.where_to_begin).

        Raises TooManyStreams, and what where_to_begin raises, before anything is read.
        """
        if self._readers >= self._most_readers or self.closing.is_set():
            raise TooManyStreams
        self._readers += 1
        try:
            position = await log.where_to_begin(self.inventory.database, last_event_id)
            self.tail.start()
            yield Reader(self, position)
        finally:
            self._readers -= 1
            if not self._readers:
                # Nobody listens: Redis is not asked for nothing.
                await self.tail.stop()

    async def close(self) -> None:
        """Ask every stream to end."""
        self.closing.set()


class Reader:
    """One reader's place in the log."""

    def __init__(self, feed: EventFeed, position: Position) -> None:
        self.position = position
        """Everything up to here has been given."""
        self._feed = feed

    async def next(self, timeout_s: float) -> list[LoggedEvent]:
        """The next events, in sequence, none left out; empty when none came within `timeout_s`.

        Raises EventsGone when the reader was slower than the archive is long, DatabaseUnavailable.
        """
        watermark = self._feed.inventory.watermark
        known = Position(*watermark.position(PARTITION))
        if known > self.position:
            events = await self._feed.tail.between(self.position, known, watermark.vouched(PARTITION))
            if not events:
                async with self._feed.archive:
                    events = await log.read_after(self._feed.inventory.database, self.position)
            if events:
                self.position = Position(events[-1].epoch, events[-1].seq)
                return events
        at = max(known, self.position)
        await watermark.reached(PARTITION, at.epoch, at.seq + 1, timeout_s)
        return []
