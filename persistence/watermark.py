"""How far the ledger is, known to a whole process at once: callers wait until a sequence number is committed.

Owns one LISTEN connection and the waiting line; never reads rows. The flusher announces each commit, so that a wait
ends when the commit does, and thousands of waits cost one notification.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import re
from collections.abc import Callable
from typing import Any, Final

import psycopg
import structlog
from msgspec import Struct

from persistence.database_url import lasting_url
from persistence.queries.partition_state import COLUMNS, PartitionState, state_of
from persistence.tables import LEDGER_CHANNEL, PARTITION_CHANNEL

OnState = Callable[[PartitionState], None]

OnReached = Callable[[bool], None]
"""Called once: True when the ledger has the event, False when the wait was too long or can never end well."""

_FIRST_BACK_OFF_S: Final = 0.05
_LAST_BACK_OFF_S: Final = 1.0
_RECHECK_S: Final = 5.0
"""Without news for this long the cursor is read again, so that no lost notification can strand a wait for ever."""


_COMMITTED: Final = re.compile(r"(\d{1,5}):(\d{1,10}):(\d{1,19})(?::(\d+-\d+)?)?\Z")
"""Partition, epoch, sequence number, stream id; a flusher of the version before tells no stream id."""


class Vouched(Struct, frozen=True):
    """What a reader of Redis may believe: the events after `after_seq`, if what ends where the ledger stands is the
    entry `stream_id`. Sequence and stream id together tell that it is the one that the ledger has; a server that forgot
    its last second may have given the same sequence number to something else since.
    """

    after_seq: int = 0
    """Up to here something was set aside, or nothing is known."""
    stream_id: str = ""
    """Empty: nothing may be believed."""


class _Waiter:
    """One wait in line. Answered at most once."""

    __slots__ = ("on_reached", "timer")

    def __init__(self, on_reached: OnReached) -> None:
        self.on_reached: OnReached | None = on_reached
        self.timer: asyncio.TimerHandle | None = None

    def answer(self, reached: bool) -> None:
        on_reached, self.on_reached = self.on_reached, None
        if self.timer is not None:
            self.timer.cancel()
        if on_reached is None:
            return
        try:
            on_reached(reached)
        except Exception:  # noqa: BLE001 - a caller's mistake is its own: the others in line must still hear
            structlog.get_logger("persistence.watermark").exception("a wait for the ledger ended in an error")


class _Line:
    """The waits of one partition and the newest (epoch, seq) known to be committed."""

    def __init__(self) -> None:
        self.reached = (0, 0)
        self.vouched = Vouched()
        self.heap: list[tuple[int, int, int, _Waiter]] = []


class Watermark:
    """Use: `start`, then `reached` or `watch`, finally `close`. All from one event loop.

    `on_state` is told what is admitted (persistence/queries/partition_state.py): at the start, and at each change. It
    rides on the same connection, so that a process needs only one to hear everything. `on_wait` is called whenever
    somebody begins to wait: whoever can make the flusher hurry does it there.
    """

    def __init__(
        self, database_url: str, on_state: OnState | None = None, on_wait: Callable[[], None] | None = None
    ) -> None:
        self._on_state = on_state
        self._on_wait = on_wait
        self._url = lasting_url(database_url)
        self._log = structlog.get_logger("persistence.watermark")
        self._lines: dict[int, _Line] = {}
        self._numbers = itertools.count()
        self._listener: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._forgotten = 0

    @property
    def connected(self) -> bool:
        """True while notifications are being listened to."""
        return self._connected.is_set()

    @property
    def waiting(self) -> int:
        """Waits in line, for metrics; those that timed out may be counted until their turn comes."""
        return sum(len(line.heap) for line in self._lines.values())

    async def start(self, timeout_s: float = 5.0) -> None:
        """Begin to listen. Gives back when connected, or after `timeout_s`; connecting goes on in the background."""
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen(), name="ledger watermark")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), timeout_s)

    async def close(self) -> None:
        """Stop listening; every wait ends with False."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None
        for line in self._lines.values():
            for *_, waiter in line.heap:
                waiter.answer(False)
            line.heap.clear()

    def position(self, partition: int) -> tuple[int, int]:
        """The newest (epoch, seq) known to be committed; (0, 0) before the first news."""
        line = self._lines.get(partition)
        return line.reached if line is not None else (0, 0)

    def vouched(self, partition: int) -> Vouched:
        """For which part of the journal, up to `position`, the ledger vouches as it stands in Redis."""
        line = self._lines.get(partition)
        return line.vouched if line is not None else Vouched()

    def watch(self, partition: int, epoch: int, seq: int, timeout_s: float, on_reached: OnReached) -> None:
        """`on_reached(True)` once the ledger holds event `seq` of `epoch`, `on_reached(False)` after `timeout_s`.

        Called at once, before this returns, when it is known already. A wait in an epoch that has ended is False: its
        events are either known to be there or will never come.
        """
        line = self._line(partition)
        if line.reached >= (epoch, seq):
            on_reached(line.reached[0] == epoch)
            return
        if self._on_wait is not None:
            self._on_wait()
        waiter = _Waiter(on_reached)
        heapq.heappush(line.heap, (epoch, seq, next(self._numbers), waiter))
        waiter.timer = asyncio.get_running_loop().call_later(timeout_s, self._give_up, line, waiter)

    async def reached(self, partition: int, epoch: int, seq: int, timeout_s: float) -> bool:
        """Wait until the ledger holds event `seq` of `epoch`: True then, False after `timeout_s` seconds."""
        line = self._line(partition)
        if line.reached >= (epoch, seq):
            return line.reached[0] == epoch
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def on_reached(reached: bool) -> None:
            if not answer.done():
                answer.set_result(reached)

        self.watch(partition, epoch, seq, timeout_s, on_reached)
        return await answer

    def _line(self, partition: int) -> _Line:
        line = self._lines.get(partition)
        if line is None:
            line = self._lines[partition] = _Line()
        return line

    def _give_up(self, line: _Line, waiter: _Waiter) -> None:
        waiter.answer(False)
        # The dead stay in the heap until their turn; when they are most of it, it is made anew.
        self._forgotten += 1
        if self._forgotten > 1_000 and self._forgotten * 2 > len(line.heap):
            line.heap = [entry for entry in line.heap if entry[3].on_reached is not None]
            heapq.heapify(line.heap)
            self._forgotten = 0

    def _advance(self, partition: int, epoch: int, seq: int, stream_id: str) -> None:
        line = self._line(partition)
        if (epoch, seq) > line.reached:
            same_life = line.reached[0] == epoch
            line.reached = (epoch, seq)
            line.vouched = Vouched(line.vouched.after_seq, stream_id) if stream_id and same_life else Vouched(seq)
        epoch, seq = line.reached
        while line.heap and line.heap[0][:2] <= (epoch, seq):
            of_epoch, _, _, waiter = heapq.heappop(line.heap)
            waiter.answer(of_epoch == epoch)

    async def _listen(self) -> None:
        back_off_s = _FIRST_BACK_OFF_S
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=5,
                    application_name="holdfast watermark",
                ) as connection:
                    await connection.execute(f"LISTEN {LEDGER_CHANNEL}; LISTEN {PARTITION_CHANNEL}")
                    # After LISTEN, so that no commit falls between reading and listening.
                    await self._read_cursors(connection)
                    self._connected.set()
                    back_off_s = _FIRST_BACK_OFF_S
                    await self._hear(connection)
            except (psycopg.Error, OSError) as error:
                if self._connected.is_set():
                    self._log.error("ledger watermark lost its connection", reason=f"{type(error).__name__}: {error}")
                self._connected.clear()
            except Exception:  # noqa: BLE001 - told in the log, and tried again
                # Who does not listen any more serves a life that has ended, and waits for commits in vain.
                self._connected.clear()
                self._log.exception("ledger watermark failed; it begins anew")
            await asyncio.sleep(back_off_s)
            back_off_s = min(back_off_s * 2, _LAST_BACK_OFF_S)

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            news, changed = False, False
            # The connection is busy until the generator is closed; nothing may be asked before.
            async with contextlib.aclosing(connection.notifies(timeout=_RECHECK_S)) as notifications:
                async for notification in notifications:
                    news = True
                    if notification.channel == PARTITION_CHANNEL:
                        changed = True
                        break
                    # Anybody may notify; what is no news of ours is asked for.
                    told = _COMMITTED.match(notification.payload)
                    if told is None:
                        changed = True
                        break
                    partition, epoch, seq, stream_id = told.groups(default="")
                    self._advance(int(partition), int(epoch), int(seq), stream_id)
            # Behind a change: whatever else had come with it is not heard any more.
            if changed or not news:
                await self._read_cursors(connection)

    async def _read_cursors(self, connection: psycopg.AsyncConnection[Any]) -> None:
        cursors = await connection.execute("SELECT partition, epoch, seq FROM journal_cursors")
        for partition, epoch, seq in await cursors.fetchall():
            # What was committed in between, and how, was not heard.
            self._advance(partition, epoch, seq, "")
        await self._read_states(connection)

    async def _read_states(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if self._on_state is None:
            return
        rows = await connection.execute(f"SELECT {COLUMNS} FROM partition_state")  # noqa: S608 - a constant
        for row in await rows.fetchall():
            self._on_state(state_of(row))
