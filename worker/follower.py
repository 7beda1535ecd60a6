"""A follower: hands the journal to one consumer, entry by entry, each exactly once in effect.

Owns the loop and the follower's cursor; never what a consumer makes of an entry. It reads the archive in Postgres, so
it sees what the ledger has and nothing that could still be undone. What a consumer writes, and the cursor behind it,
is one transaction: after a crash anywhere, or beside another worker, each entry has been taken once or not yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import structlog
from msgspec import Struct

from inventory.context import PARTITION
from persistence.database import Database, DatabaseUnavailable, Transaction
from persistence.journal_entries import JournalEntry
from persistence.queries import followers, journal_archive
from persistence.queries.journal_archive import Position
from persistence.watermark import Watermark


class Consumer(Protocol):
    """What follows the journal. One object a process; `take` is never called twice at the same time."""

    name: str
    """Of its cursor: change it and it begins again at the oldest entry there is."""

    async def take(self, transaction: Transaction, entries: Sequence[JournalEntry]) -> None:
        """Do with these entries what is to be done, in `transaction` alone.

        Entries come in sequence, none left out, none twice in a committed transaction. Raising takes everything back:
        the same entries come again after a pause, so what can never be done must not raise. Anything kept in memory
        must be right even when the transaction is not committed.
        """

    async def committed(self) -> None:
        """Called after the transaction of `take` is committed, not at all if the process dies in between.

        For what makes things faster (enqueueing a job) and is swept up by a schedule otherwise.
        """


class FollowerSettings(Struct, frozen=True):
    """Limits of a follower."""

    entries: int = 200
    """Entries in one transaction at most."""
    rest_s: float = 0.1
    """Pause behind a transaction that was not full: under load fewer and larger ones, while the first comes at once."""
    look_again_s: float = 2.0
    """Without news the cursor is looked at this often: another worker may have died with entries left."""
    first_back_off_s: float = 0.1
    last_back_off_s: float = 5.0


class FollowerStatus(Struct):
    """What a follower knows of itself. Mutable: its own counter sheet."""

    epoch: int = 0
    seq: int = 0
    entries: int = 0
    """Taken by this process."""
    failures: int = 0
    reason: str = ""
    """Why it does not go on; empty when all is well."""


class Follower:
    """Use `run` in a task, or `step` for a single transaction."""

    def __init__(
        self,
        database: Database,
        watermark: Watermark,
        consumer: Consumer,
        settings: FollowerSettings | None = None,
    ) -> None:
        self.name = consumer.name
        self.status = FollowerStatus()
        self._database = database
        self._watermark = watermark
        self._consumer = consumer
        self._settings = settings or FollowerSettings()
        self._log = structlog.get_logger("worker.follower").bind(follower=consumer.name)
        self._position = Position(0, 0)
        """Where it stood when last seen; 0, 0 before."""
        self._begun = False

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`. Survives Postgres going away, and whatever the consumer raises."""
        back_off_s = 0.0
        while not stop.is_set():
            # Before the step: what is committed while it reads must not be waited for.
            known = Position(*self._watermark.position(PARTITION))
            try:
                taken = await self.step()
            except DatabaseUnavailable as error:
                self._stuck(f"waits for Postgres: {error}")
            except Exception as error:  # noqa: BLE001 - logged with its traceback, and tried again
                # A consumer's mistake must not end the flusher that lives in the same process. It is tried again, since
                # nothing may be passed over.
                if not self.status.reason:
                    self._log.exception("the consumer failed; trying again until it does not")
                self._stuck(f"{type(error).__name__}: {error}")
            else:
                if self.status.reason:
                    self._log.info("following again")
                self.status.reason = ""
                back_off_s = 0.0
                if not taken:
                    await self._news(max(known, self._position), stop)
                elif taken < self._settings.entries:
                    await _first_of(stop.wait(), asyncio.sleep(self._settings.rest_s))
                continue
            back_off_s = min(max(self._settings.first_back_off_s, back_off_s * 2), self._settings.last_back_off_s)
            await _first_of(stop.wait(), asyncio.sleep(back_off_s))

    async def step(self) -> int:
        """One transaction: how many entries were taken; 0 when there were none or another worker is at it.

        Raises DatabaseUnavailable, and what the consumer raises; nothing is done then.
        """
        if not self._begun:
            extent = await journal_archive.extent(self._database)
            await followers.begin(self._database, self._consumer.name, extent.oldest)
            self._begun = True
        async with self._database.transaction() as transaction:
            position = await followers.hold(transaction, self._consumer.name)
            if position is None:
                return 0
            entries = await journal_archive.read_after(transaction, position, self._settings.entries)
            if entries:
                self._look_for_a_gap(position, entries[0])
                await self._consumer.take(transaction, entries)
                end = Position(entries[-1].epoch, entries[-1].last_seq)
                if not await followers.move(transaction, self._consumer.name, position, end):
                    raise RuntimeError("the cursor moved although its row was held")
        self._position = Position(entries[-1].epoch, entries[-1].last_seq) if entries else position
        self.status.epoch, self.status.seq = self._position.epoch, self._position.seq
        if entries:
            self.status.entries += len(entries)
            await self._consumer.committed()
        return len(entries)

    def _look_for_a_gap(self, position: Position, entry: JournalEntry) -> None:
        """Say so when something was never archived (unreadable) or has been forgotten since."""
        missing = entry.first_seq - position.seq - 1
        if entry.epoch == position.epoch and missing > 0:
            self._log.error("events are missing from the archive", after=position.seq, events=missing)

    def _stuck(self, reason: str) -> None:
        if self.status.reason != reason:
            self._log.error("not following", reason=reason)
        self.status.reason = reason
        self.status.failures += 1

    async def _news(self, known: Position, stop: asyncio.Event) -> None:
        """Wait until the ledger goes on from `known`, but not for ever, and not past `stop`."""
        reached = self._watermark.reached(PARTITION, known.epoch, known.seq + 1, self._settings.look_again_s)
        await _first_of(stop.wait(), reached)


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first of these ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
