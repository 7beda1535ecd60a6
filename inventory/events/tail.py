"""The end of the journal in memory: read from Redis once a process, made into events once, shared by every reader.

Owns one task and one bounded ring. It is a short cut and nothing more: what it gives has been held against the ledger,
what it has not is read from the archive (log.py), and losing it loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_left
from typing import Final

import structlog
from msgspec import Struct

from engine.engine import Engine
from engine.errors import Unavailable
from inventory.context import PARTITION
from inventory.events.log import LoggedEvent, events_of
from persistence.database import Database, DatabaseUnavailable
from persistence.journal_entries import JournalEntry, read_entry
from persistence.queries import ledger_state
from persistence.queries.journal_archive import Position
from persistence.watermark import Vouched, Watermark

EVENTS_AT_ONCE: Final = 500
"""Events given to a reader in one piece."""


class TailSettings(Struct, frozen=True):
    """Limits of the tail."""

    most_bytes: int = 16 * 1024 * 1024
    """Size of the ring, counted in the documents of its events."""
    read_entries: int = 16
    block_ms: int = 1_000
    first_back_off_s: float = 0.1
    last_back_off_s: float = 2.0


class _Entry(Struct, frozen=True):
    epoch: int
    first_seq: int
    last_seq: int
    stream_id: str
    events: list[LoggedEvent]
    size: int


class JournalTail:
    """Use `start`, `between`, `stop`; it may be started again. All from one event loop."""

    def __init__(
        self, engine: Engine, database: Database, watermark: Watermark, settings: TailSettings | None = None
    ) -> None:
        self._engine = engine
        self._database = database
        self._watermark = watermark
        self._settings = settings or TailSettings()
        self._log = structlog.get_logger("inventory.tail")
        self._task: asyncio.Task[None] | None = None
        self._entries: list[_Entry] = []
        """Without a gap, of one epoch."""
        self._size = 0
        self._stream_id = ""
        """Read on from here; empty: from where the ledger stands."""
        self._grown = asyncio.Event()
        self._waits_for = ""

    @property
    def size(self) -> int:
        """Bytes of the documents in the ring."""
        return self._size

    def start(self) -> None:
        """Begin to read, from where the ledger stands."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="journal tail")

    async def stop(self) -> None:
        """Stop reading and forget what was read."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._forget()

    async def between(self, after: Position, until: Position, vouched: Vouched) -> list[LoggedEvent] | None:
        """The first events after `after`, up to `until`, where the ledger stands; `vouched` as of then.

        None when they are not here, or not for certain. Waits a moment for Redis when the ledger was faster.
        """
        if not vouched.stream_id or after.seq < vouched.after_seq:
            return None
        if self._task is None or not self._entries or not self._begins_before(after):
            return None
        if self._last() < until:
            self._grown.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._grown.wait()
        if not self._entries or not self._begins_before(after):
            return None
        end = bisect_left(self._entries, until.seq, key=_last_seq)
        if self._entries[0].epoch != until.epoch or end == len(self._entries):
            return None
        found = self._entries[end]
        if found.last_seq != until.seq or found.stream_id != vouched.stream_id:
            # The ledger has something else under this number: Redis forgot what was read here, and went on.
            self._log.warning("the journal is not what was read of it; reading it again", seq=until.seq)
            self._forget()
            return None
        events: list[LoggedEvent] = []
        for index in range(bisect_left(self._entries, after.seq + 1, key=_last_seq), end + 1):
            events += [event for event in self._entries[index].events if event.seq > after.seq]
            if len(events) >= EVENTS_AT_ONCE:
                break
        return events[:EVENTS_AT_ONCE]

    def _begins_before(self, after: Position) -> bool:
        first = self._entries[0]
        return first.epoch == after.epoch and first.first_seq <= after.seq + 1

    def _last(self) -> Position:
        return Position(self._entries[-1].epoch, self._entries[-1].last_seq)

    def _forget(self) -> None:
        self._entries.clear()
        self._size = 0
        self._stream_id = ""

    async def _run(self) -> None:
        back_off_s = 0.0
        # Asked for anew each time: a cancellation that meets a connection at the wrong moment is lost in the client.
        while self._task is asyncio.current_task():
            try:
                await self._read()
            except (Unavailable, DatabaseUnavailable) as error:
                # What was read before the connection was lost may be what Redis loses: it is read again.
                self._forget()
                if not self._waits_for:
                    self._log.error("journal tail waits", reason=f"{type(error).__name__}: {error}")
                self._waits_for = type(error).__name__
                back_off_s = min(max(self._settings.first_back_off_s, back_off_s * 2), self._settings.last_back_off_s)
                await asyncio.sleep(back_off_s)
            except Exception:  # noqa: BLE001 - told in the log, and tried again
                # It must outlive any surprise: nobody would begin it anew.
                self._forget()
                self._log.exception("the journal could not be read")
                await asyncio.sleep(self._settings.last_back_off_s)
            else:
                self._waits_for = ""
                back_off_s = 0.0

    async def _read(self) -> None:
        """One look at the journal."""
        settings = self._settings
        if self._size >= settings.most_bytes and self._last() > Position(*self._watermark.position(PARTITION)):
            # Full, and the ledger is behind: reading further ahead serves nobody.
            epoch, seq = self._watermark.position(PARTITION)
            await self._watermark.reached(PARTITION, epoch, seq + 1, 1.0)
            self._shrink()
            return
        if not self._stream_id:
            cursor = await ledger_state.cursor(self._database, PARTITION)
            self._stream_id = cursor.stream_id if cursor is not None else "0-0"
        begun_at = self._stream_id
        for stream_id, raw in await self._engine.read_journal(begun_at, settings.read_entries, settings.block_ms):
            if self._stream_id != begun_at:
                # A reader found that the journal has changed.
                return
            begun_at = self._stream_id = stream_id
            entry = read_entry(stream_id, raw)
            if isinstance(entry, JournalEntry):
                self._append(entry)
            await asyncio.sleep(0)
        self._grown.set()

    def _append(self, entry: JournalEntry) -> None:
        if self._entries and (entry.epoch, entry.first_seq) != (self._last().epoch, self._last().seq + 1):
            # Behind a gap, or in another epoch: what lies before is read from the archive, which knows what it was.
            self._entries.clear()
            self._size = 0
        events = events_of(entry, Position(entry.epoch, entry.first_seq - 1))
        size = sum(len(event.document) for event in events)
        self._entries.append(_Entry(entry.epoch, entry.first_seq, entry.last_seq, entry.stream_id, events, size))
        self._size += size
        self._shrink()

    def _shrink(self) -> None:
        """Forget the oldest entries that the ledger has, down to the size of the ring."""
        known = Position(*self._watermark.position(PARTITION))
        gone = 0
        while (
            self._size > self._settings.most_bytes
            and gone < len(self._entries) - 1
            and Position(self._entries[gone].epoch, self._entries[gone].last_seq) <= known
        ):
            self._size -= self._entries[gone].size
            gone += 1
        del self._entries[:gone]


def _last_seq(entry: _Entry) -> int:
    return entry.last_seq
