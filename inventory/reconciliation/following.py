"""The shadow kept in step with Redis: loaded from one snapshot of the ledger, then moved along by the journal.

Owns loading and following; never compares (reconcile.py does).
"""

from __future__ import annotations

import asyncio
from typing import Final

from engine.store_reader import Moment, StoreReader
from inventory.reconciliation.shadow import Shadow
from inventory.refusals import ReconciliationUnknown
from persistence.database import Database
from persistence.journal_entries import JournalEntry, UnreadableEntry, read_entry
from persistence.queries import reconciliation as ledger

OVERDUE_MS: Final = 600_000
"""A hold that ended this long before the first one in Redis, and is still ACTIVE in Postgres, is found only by a deep
run: the index by deadline then spares reading all that ever was."""
JOURNAL_CHUNK: Final = 16
"""Entries in one read, each up to 512 commands: no answer may hold Redis, or decoding it the event loop, for long."""
MOVED_AT_ONCE: Final = 128
"""Events after which others on the event loop get their turn."""


class JournalTrimmed(ReconciliationUnknown):
    """The journal no longer holds what comes next: it was trimmed in the meantime, or it has a gap."""


class Follower:
    """A shadow, where it stands in the stream, and the reader that moves it along."""

    def __init__(self, reader: StoreReader, shadow: Shadow, stream_id: str) -> None:
        self.shadow = shadow
        self._reader = reader
        self._stream_id = stream_id
        self._moved = 0
        self._ahead: list[JournalEntry] = []
        """Entries that were read and come after the moment that was asked for."""

    async def reach(self, moment: Moment) -> None:
        """Move the shadow to exactly this moment. Raises ReconciliationUnknown, Disconnected."""
        shadow = self.shadow
        if moment.epoch != shadow.epoch:
            raise ReconciliationUnknown(f"Redis is of epoch {moment.epoch}, the ledger of {shadow.epoch}.")
        if moment.seq < shadow.seq:
            raise ReconciliationUnknown(f"Redis stands at event {moment.seq}, behind the ledger at {shadow.seq}.")
        while shadow.seq < moment.seq:
            if not self._ahead:
                self._ahead = await self._read()
            entry = self._ahead[0]
            if entry.last_seq > moment.seq:
                # A moment is always the end of a batch, and so of an entry.
                raise ReconciliationUnknown(f"Entry {entry.stream_id} of the journal goes past event {moment.seq}.")
            del self._ahead[0]
            shadow.apply(entry)
            self._moved += len(entry.events)
            if self._moved > MOVED_AT_ONCE:
                self._moved = 0
                await asyncio.sleep(0)

    async def _read(self) -> list[JournalEntry]:
        """The entries that come next; at least one. Raises JournalTrimmed."""
        while True:
            found = await self._reader.journal(self._stream_id, JOURNAL_CHUNK)
            if not found:
                return [await self._found_again()]
            entries = []
            for stream_id, raw in found:
                self._stream_id = stream_id
                entry = read_entry(stream_id, raw)
                if isinstance(entry, UnreadableEntry):
                    self.shadow.bad_events += 1
                elif entry.epoch == self.shadow.epoch and entry.last_seq > self.shadow.seq:
                    entries.append(entry)
            if entries:
                self._check_continues(entries)
                return entries

    def _check_continues(self, entries: list[JournalEntry]) -> None:
        expected = self.shadow.seq + 1
        for entry in entries:
            if entry.first_seq > expected and not self.shadow.bad_events:
                raise JournalTrimmed(f"Event {expected} is not in the journal, which goes on at {entry.first_seq}.")
            expected = max(expected, entry.last_seq + 1)

    async def _found_again(self) -> JournalEntry:
        """The next entry under an older stream id, as a server that forgot may give it."""
        expected, after = self.shadow.seq + 1, "0-0"
        while found := await self._reader.journal(after, JOURNAL_CHUNK):
            for stream_id, raw in found:
                entry = read_entry(stream_id, raw)
                if (
                    isinstance(entry, JournalEntry)
                    and entry.epoch == self.shadow.epoch
                    and entry.first_seq <= expected <= entry.last_seq
                ):
                    self._stream_id = stream_id
                    return entry
            after = found[-1][0]
        raise JournalTrimmed(f"Event {expected} is nowhere in the journal.")


async def load(
    database: Database, reader: StoreReader, partition: int, *, deep: bool
) -> tuple[Follower, dict[str, int]]:
    """A shadow at the ledger's cursor, and what `inventory_levels` says is reserved there.

    `deep`: look at every reservation, not only at those that can be live. Raises ReconciliationUnknown when there is no
    ledger, DatabaseUnavailable, Disconnected.
    """
    first_ms, moment = await reader.first_deadline_ms(), await reader.moment()
    reserved: dict[str, int] = {}
    async with database.snapshot() as snapshot:
        position = await ledger.position(snapshot, partition)
        if position is None:
            raise ReconciliationUnknown("The ledger has no cursor for this partition.")
        shadow = Shadow(position.epoch, position.seq)
        ends_after_ms = min(moment.now_ms, first_ms or moment.now_ms) - OVERDUE_MS
        if position.seq < moment.seq:
            # A ledger that is behind calls ACTIVE what has ended since its last event, however long ago that was.
            ends_after_ms = min(ends_after_ms, int(position.stream_id.partition("-")[0]) - OVERDUE_MS)
        async for levels in ledger.levels(snapshot, partition):
            for level in levels:
                shadow.on_hand[level.sku] = level.on_hand
                reserved[level.sku] = level.reserved
        async for holds in ledger.active_holds(snapshot, partition, 0 if deep else ends_after_ms):
            for hold in holds:
                shadow.hold(hold.id, hold.lines, hold.deadline_ms)
        shadow.allowed.update(await ledger.open_corrections(snapshot, partition, position.epoch))
    return Follower(reader, shadow, position.stream_id), reserved
