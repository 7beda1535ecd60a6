"""The announcer: puts what the service has to tell (inventory/events/announcements.py) into the journal, in order.

Owns the way from the outbox to the journal; never decides what is told. Each announcement has its own base, so sending
it again, by this worker or another, changes nothing; and it counts as announced only once the flusher has met it in the
journal and said so in the transaction that moves the ledger's cursor. A crash anywhere, or a Redis that forgets its
last second, makes it come later, not twice and not never.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct

from engine.commands import Announce
from engine.engine import Engine
from engine.errors import InvalidCommand, Unavailable
from engine.results import Status
from persistence.database import Database, DatabaseUnavailable
from persistence.queries import announcements
from persistence.queries.announcements import Announcement

ACTOR: Final = "system"


class AnnouncerSettings(Struct, frozen=True):
    """Limits of the announcer."""

    interval_s: float = 0.2
    """Between two looks into the outbox."""
    most: int = 500
    """Announcements taken at one look."""
    again_s: float = 2.0
    """How long the flusher gets to meet an announcement in the journal before it is sent again."""
    last_back_off_s: float = 5.0


class AnnouncerStatus(Struct):
    """What the announcer knows of itself. Mutable: its own counter sheet."""

    sent: int = 0
    """Put into the journal by this process, repeats not counted."""
    refused: int = 0
    reason: str = ""
    """Why it waits; empty when all is well."""


class Announcer:
    """Use `run` in a task, or `look` for a single look."""

    def __init__(
        self,
        engine: Engine,
        database: Database,
        settings: AnnouncerSettings | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.status = AnnouncerStatus()
        self._engine = engine
        self._database = database
        self._settings = settings or AnnouncerSettings()
        self._monotonic = monotonic
        self._log = structlog.get_logger("worker.announcer")
        self._again_at: dict[str, float] = {}
        """Base -> when it may be sent again."""

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`. Survives Redis and Postgres going away."""
        pause_s = self._settings.interval_s
        while not stop.is_set():
            try:
                await self.look()
            except (Unavailable, DatabaseUnavailable) as error:
                if not self.status.reason:
                    self._log.error("announcer waits", reason=f"{type(error).__name__}: {error}")
                self.status.reason = f"{type(error).__name__}: {error}"
                pause_s = min(pause_s * 2, self._settings.last_back_off_s)
            else:
                self.status.reason = ""
                pause_s = self._settings.interval_s
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait([stopping], timeout=pause_s)
            stopping.cancel()

    async def look(self) -> int:
        """Send what waits; how many were put into the journal. Raises Unavailable, DatabaseUnavailable."""
        waiting = await announcements.waiting(self._database, self._settings.most)
        now = self._monotonic()
        self._again_at = {row.base: at for row in waiting if (at := self._again_at.get(row.base, 0.0)) > now}
        sent = 0
        for row in waiting:
            if row.base not in self._again_at:
                sent += await self._send(row)
                self._again_at[row.base] = now + self._settings.again_s
        self.status.sent += sent
        return sent

    async def _send(self, row: Announcement) -> bool:
        # One by one, each answered before the next: the journal has them in the order of the outbox.
        try:
            result = await self._engine.execute(Announce(row.base, row.event_type, row.data, ACTOR))
        except InvalidCommand as error:
            self._refused(row, str(error))
            return False
        if result.status not in {Status.OK, Status.REPLAYED}:
            self._refused(row, result.status)
        return result.status == Status.OK

    def _refused(self, row: Announcement, reason: str) -> None:
        """It stays in the outbox, to be seen; the others go on."""
        self.status.refused += 1
        self._log.error("announcement refused", id=row.id, type=row.event_type, reason=reason)
