"""Back-pressure: while the ledger is far behind, only what ends holds is taken, and nothing else that needs journal.

Owns the watermark and its hysteresis (engine/admission.py `journal_full`); the batcher refuses, the flusher drains.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct

from engine.errors import Unavailable
from inventory.context import PARTITION
from persistence.journal_entries import JournalEntry, read_entry

if TYPE_CHECKING:
    from engine import Engine
    from persistence.watermark import Watermark

_MEASURED_FROM: Final = 1_000
"""Events not in the ledger below which their memory is not even asked for."""


class BackPressureSettings(Struct, frozen=True):
    """When it begins and ends."""

    max_events: int = 5_000_000
    """Events that are not in the ledger; 0: no limit."""
    max_bytes: int = 512 * 1024 * 1024
    """Their memory in Redis, about; 0: no limit."""
    ends_at: float = 0.8
    """Of either limit: below it everything is taken again."""
    interval_s: float = 0.25
    """Between two looks. What comes in meanwhile is how far a limit may be passed."""


class BackPressure:
    """Use `start`, finally `close`. One for each engine that takes requests."""

    def __init__(self, engine: Engine, watermark: Watermark, settings: BackPressureSettings | None = None) -> None:
        self._engine = engine
        self._watermark = watermark
        self._settings = settings or BackPressureSettings()
        self._log = structlog.get_logger("inventory.back_pressure")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="back-pressure")

    async def close(self) -> None:
        """Stop looking; what was refused stays refused."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def look(self) -> bool:
        """Measure once; True if the journal is full now. Raises Unavailable while Redis gives no answer."""
        settings, admission = self._settings, self._engine.admission
        events, size = await self._backlog()
        share = max(
            events / settings.max_events if settings.max_events else 0.0,
            size / settings.max_bytes if settings.max_bytes else 0.0,
        )
        full = share >= (settings.ends_at if admission.journal_full else 1.0)
        if full != admission.journal_full:
            told = self._log.error if full else self._log.info
            told("the journal is full" if full else "the journal has room again", unflushed_events=events, bytes=size)
        admission.journal_full = full
        return full

    async def _backlog(self) -> tuple[int, int]:
        """Events that are not in the ledger, and about how many bytes of Redis they are."""
        state = await self._engine.journal_state()
        epoch, seq = self._watermark.position(PARTITION)
        events = max(0, state.seq - seq) if epoch == state.epoch else 0
        if events < _MEASURED_FROM or not self._settings.max_bytes:
            return events, 0
        size, oldest = await self._engine.journal_memory()
        first = read_entry("", oldest)
        held = events
        if isinstance(first, JournalEntry) and first.epoch == state.epoch:
            held = max(events, state.seq - first.first_seq + 1)
        return events, size * events // held

    async def _run(self) -> None:
        while self._task is asyncio.current_task():
            # Redis being away is told by everything else; nothing grows then.
            try:
                with contextlib.suppress(Unavailable):
                    await self.look()
            except Exception:  # noqa: BLE001 - told in the log, and tried again
                # Whoever stopped looking would let the journal grow, or refuse new holds, for ever.
                self._log.exception("the journal could not be measured")
            await asyncio.sleep(self._settings.interval_s)
