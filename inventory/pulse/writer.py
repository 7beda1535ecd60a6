"""Tells the board once a second how this process is. A Redis that takes nothing costs a second's figures, no more.

Owns the rhythm, the window of the recent counts and the process's places on the board; never counts anything itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from msgspec import structs

from engine.errors import Unavailable
from inventory.pulse.sheets import Counts, LostDemand, ProcessPulse

if TYPE_CHECKING:
    from engine.engine import Engine

INTERVAL_S: Final = 1.0
WINDOW_S: Final = 5.0
"""What `recent` tells of, about: long enough to be calm, short enough to be live."""
CLEAN_EVERY: Final = 30
"""Posts between two looks for sheets of processes that are gone."""
GONE_MS: Final = 30_000

_encode = msgspec.msgpack.encode

Sheet = Callable[[], ProcessPulse]
"""Gives the process as it is now: `total` and its state; what the writer knows better is overwritten."""


class PulseWriter:
    """Use `start`, finally `close`. One for each process."""

    def __init__(
        self,
        engine: Engine,
        sheet: Sheet,
        lost_demand: Callable[[], Sequence[LostDemand]] = tuple,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._engine = engine
        self._board = engine.pulse_board()
        self._sheet = sheet
        self._lost_demand = lost_demand
        self._interval_s = interval_s
        self._name = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(3).hex()}"
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._offset_ms = time.time() * 1000 - time.monotonic() * 1000
        """Server clock less our monotonic one, as last heard."""
        self._started_ms = 0
        self._history: deque[tuple[float, Counts]] = deque()
        self._told: Sequence[LostDemand] = ()
        self._posts = 0
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("inventory.pulse")

    async def start(self) -> None:
        """Tell the first time, and go on telling."""
        if self._task is None:
            with contextlib.suppress(Unavailable):
                await self.tell()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="pulse")

    async def close(self) -> None:
        """Stop, and leave the board."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._board.take_down([self._name, self._lost_name])

    def now_ms(self) -> int:
        """The server's clock, about."""
        return round(time.monotonic() * 1000 + self._offset_ms)

    async def tell(self) -> None:
        """Post once. Raises Unavailable."""
        pulse = self._pulse()
        sheets = {self._name: _encode(pulse)}
        lost = tuple(self._lost_demand())
        if lost != self._told:
            # Only when something was refused: what stands on the board costs nothing.
            sheets[self._lost_name] = _encode(lost)
        heard_ms = await self._board.post(sheets)
        self._told = lost
        self._offset_ms = heard_ms - time.monotonic() * 1000
        self._posts += 1
        if self._posts % CLEAN_EVERY == 0:
            await self._clean()

    @property
    def _lost_name(self) -> str:
        return self._name + LOST_SUFFIX

    def _pulse(self) -> ProcessPulse:
        now = time.monotonic()
        sheet = self._sheet()
        history = self._history
        while len(history) > 1 and now - history[1][0] >= WINDOW_S:
            history.popleft()
        since, before = history[0] if history else (now - self._interval_s, sheet.total)
        history.append((now, sheet.total))
        now_ms = self.now_ms()
        self._started_ms = self._started_ms or now_ms
        return structs.replace(
            sheet,
            host=self._host,
            pid=self._pid,
            at_ms=now_ms,
            started_at_ms=self._started_ms,
            recent=sheet.total.since(before),
            window_s=max(now - since, 0.001),
        )

    async def _clean(self) -> None:
        """Processes that were killed could not leave the board."""
        board = await self._board.read()
        alive = {name for name, raw in board.sheets.items() if board.now_ms - at_ms_of(raw) < GONE_MS}
        gone = [name for name in board.sheets if name.removesuffix(LOST_SUFFIX) not in alive]
        if gone:
            await self._board.take_down(gone)

    async def _run(self) -> None:
        told = False
        while self._task is asyncio.current_task():
            await asyncio.sleep(self._interval_s)
            try:
                await self.tell()
                told = False
            except Unavailable as error:
                # Everything else tells that Redis is away; here it is worth one line.
                if not told:
                    self._log.info("no pulse", reason=str(error))
                told = True
            except Exception:  # noqa: BLE001 - told in the log, and tried again
                # A process that fell silent would look like one that is gone.
                if not told:
                    self._log.exception("no pulse")
                told = True


LOST_SUFFIX: Final = ":lost"
"""Behind a process's name on the board: where its lost demand stands."""


class _Moment(msgspec.Struct):
    at_ms: int = 0


_moment = msgspec.msgpack.Decoder(_Moment).decode


def at_ms_of(raw: Any) -> int:
    """When a sheet was written; 0 for what is no sheet of a process."""
    try:
        return _moment(raw).at_ms
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 0
