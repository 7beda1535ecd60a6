"""Coalescing: every call that arrives while a batch is in flight becomes part of the next one.

There is no timer: an idle engine sends at once, a busy one sends as soon as a link is free. Two links keep Redis
parsing one batch while it runs the other. A caller that goes away never takes its batch along. When too many commands
wait, new ones are refused instead of queued for longer than anybody would wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
import msgspec
from msgspec import Struct

from engine import limits
from engine.admission import Admission
from engine.batch_answer import UNREADABLE, decode_answer
from engine.commands import Adjust, Amend, Announce, Command, Configure, Expire, Repair, Reserve, bases_of, encode_batch
from engine.errors import (
    Disconnected,
    InvalidCommand,
    JournalFull,
    NotReady,
    OutcomeUnknown,
    Overloaded,
    StoreRefused,
    Unavailable,
)
from engine.identity import BASE_LENGTH
from engine.keys import PartitionKeys
from engine.link import Address, Link, encode, open_link, run_id_in
from engine.results import Reply
from engine.scripts import Script
from engine.tallies import BatchTally

OnReply = Callable[[Command, "Reply | Unavailable | InvalidCommand"], None]
Waiting = tuple[Command, OnReply]

REPLY_TIMEOUT_S: Final = 10.0
"""A batch without an answer for this long ends its link: its callers learn that the outcome is unknown."""

RECONNECT_FIRST_S: Final = 0.02
RECONNECT_MOST_S: Final = 1.0
MAX_DAMAGED: Final = 1_000
"""Due holds that cannot be ended and are named to the script, each batch anew. If there are more of them, nobody waits
for any due hold to end: what the sweeper ends is free all the same."""
ANY_MEMBER: Final = "*"
"""Stands for all due holds in that list."""
DAMAGE_REMEMBERED_S: Final = 60.0
"""Then it is tried anew, for somebody may have put it right."""
SHORT_LINES: Final = 80
"""Characters of lines below which a command counts as one line."""
SMALLEST_SHARE: Final = 24
"""Commands below which a batch is not split over two links: a batch's fixed cost is that of about three commands."""

_SCRIPT_ERROR = re.compile(r"(?:ERR )?user_script:\d")
"""An error of the script itself, unlike OOM, READONLY or WRONGTYPE, which every batch would meet."""

_NOT_FOR_CALLERS = frozenset({"due_holds", UNREADABLE})
_GROWING = (Reserve, Amend, Adjust, Configure, Announce, Repair)


class BatcherSettings(Struct, frozen=True):
    """What a batcher needs to know."""

    epoch: int
    retention_ms: int
    idempotency_window_ms: int
    links: int
    max_queue: int
    clock_ms: int | None
    """A test's own clock, Unix ms; None for the server's."""


class Batcher:
    """Sends the commands of one partition. Owned by an Engine; lives on one event loop."""

    def __init__(
        self,
        address: Address,
        script: Script,
        keys: PartitionKeys,
        settings: BatcherSettings,
        admission: Admission | None = None,
    ) -> None:
        self._address = address
        self._script = script
        self._settings = settings
        self._prefix = keys.record_prefix
        self._queue: deque[Waiting] = deque()
        self._idle: list[Link] = []
        self._busy: dict[Link, tuple[float, list[Waiting]]] = {}
        self._sent_epoch: dict[Link, int] = {}
        self._parked: list[Link] = []
        """Open, but to a server that is not admitted."""
        self._links: set[Link] = set()
        self._reconnecting = False
        self._damaged: set[str] = set()
        self._damaged_since = 0.0
        self._suspects = 0
        """Commands at the head of the queue that must travel alone: one of them stopped the script."""
        self._pump_planned = False
        self._closed = False
        self._all_answered = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._fixed_keys = "".join(
            f"${len(key)}\r\n{key}\r\n" for key in (keys.stock, keys.deadlines, keys.journal, keys.meta)
        )
        self.clock_ms = settings.clock_ms
        self.admission = admission or Admission(settings.epoch)
        self.admission.watch(self._admission_changed)
        self._refusal = ""
        """Why nothing can be sent although there are links; empty when something can."""
        self.batches = 0
        self.commands = 0
        self.script_seconds = 0.0
        self.tally = BatchTally()
        self.last_error = ""

    @property
    def queue_depth(self) -> int:
        """Commands waiting for a batch."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Batches sent and not yet answered."""
        return len(self._busy)

    @property
    def connected(self) -> bool:
        """True while at least one link is open."""
        return bool(self._links)

    @property
    def refusal(self) -> str:
        """Why nothing is served although Redis is connected; empty when something is."""
        return self._refusal

    async def start(self, *, patient: bool = False) -> None:
        """Open every link. Raises Disconnected when Redis cannot be reached or refuses us.

        `patient`: return at once, and go on trying.
        """
        if patient:
            self._reconnecting = True
            self._keep(self._reconnect())
            self._keep(self._watch())
            return
        try:
            for _ in range(self._settings.links):
                await self._open()
        except (OSError, TimeoutError, hiredis.ReplyError) as error:
            raise Disconnected(f"cannot connect to Redis: {error}") from error
        self._keep(self._watch())

    async def close(self) -> None:
        """Answer what is in flight, then close the links. Commands still queued get Disconnected."""
        self._closed = True
        self._fail_queue(Disconnected("the engine is closing"))
        if self._busy:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_answered.wait(), REPLY_TIMEOUT_S)
        for task in list(self._tasks):
            task.cancel()
        for link in list(self._links):
            link.close()

    def submit(self, command: Command, on_reply: OnReply) -> None:
        """Queue a command; `on_reply(command, reply)` is called once, from the event loop.

        Raises, with nothing queued: Overloaded when `max_queue` commands wait, Disconnected when there is no link,
        NotReady when no server is admitted, JournalFull for what would make the journal longer while it must not be.
        """
        queue = self._queue
        if len(queue) >= self._settings.max_queue:
            raise Overloaded(f"{len(queue)} commands are waiting already")
        if self._closed or not self._links:
            raise Disconnected("there is no connection to Redis")
        if self._refusal:
            raise NotReady(self._refusal)
        if self.admission.journal_full and _adds_stock_work(command):
            raise JournalFull("Postgres is behind: the journal is as long as it may become")
        queue.append((command, on_reply))
        if self._idle and not self._pump_planned:
            # Not at once: every request that the event loop reads in this turn belongs to the same batch.
            self._pump_planned = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_planned = False
        while self._queue and self._idle:
            # Shared out over the idle links, so that one batch runs while another is parsed and answered.
            share = max(len(self._queue) // len(self._idle), SMALLEST_SHARE)
            if self._suspects:
                self._suspects -= 1
                share = 1
            self._send(self._idle.pop(), self._take(min(share, limits.MAX_BATCH_COMMANDS)))
        if not self._queue:
            self._suspects = 0

    def _take(self, most: int) -> list[Waiting]:
        queue = self._queue
        if len(queue) > most:
            waiting = [queue.popleft() for _ in range(most)]
        else:
            waiting = list(queue)
            queue.clear()
        total = 0
        for taken, (command, _) in enumerate(waiting):
            # Most commands are a reserve of a line or two: asking costs them more than counting.
            total += 1 if type(command) is Reserve and len(command.lines) < SHORT_LINES else _weight(command)
            if total > limits.MAX_BATCH_LINES and taken:
                queue.extendleft(reversed(waiting[taken:]))
                return waiting[:taken]
        return waiting

    def _encode(self, waiting: list[Waiting]) -> bytes:
        commands = [command for command, _ in waiting]
        prefix, length = self._prefix, len(self._prefix) + BASE_LENGTH
        bases: list[str] = []
        for command in commands:
            if type(command) is Reserve:
                bases.append(command.base)
            else:
                bases.extend(bases_of(command))
        keys = "".join([f"${length}\r\n{prefix}{base}\r\n" for base in bases])
        # Each for itself: two wrong lengths could make up for each other, and break the protocol.
        if not {BASE_LENGTH}.issuperset(map(len, bases)):
            raise ValueError(f"a record base is {BASE_LENGTH} characters")
        count = 4 + len(bases)
        settings = self._settings
        clock = "" if self.clock_ms is None else str(self.clock_ms)
        retention, window = str(settings.retention_ms), str(settings.idempotency_window_ms)
        numbers = (clock, prefix, retention, window, str(self.admission.epoch))
        damaged = msgspec.msgpack.encode(sorted(self._damaged)) if self._damaged else b""
        body = encode_batch(commands)
        head = (
            f"*{10 + count}\r\n$7\r\nEVALSHA\r\n$40\r\n{self._script.sha}\r\n${len(str(count))}\r\n{count}\r\n"
            f"{self._fixed_keys}{keys}${len(body)}\r\n"
        )
        tail = "".join(f"\r\n${len(text)}\r\n{text}" for text in numbers)
        return b"%b%b%b\r\n$%d\r\n%b\r\n" % (head.encode("ascii"), body, tail.encode("ascii"), len(damaged), damaged)

    def _send(self, link: Link, waiting: list[Waiting]) -> None:
        try:
            data = self._encode(waiting)
        except (ValueError, OverflowError, TypeError, msgspec.MsgspecError) as error:
            self._rest(link)
            self._refuse_unencodable(waiting, error)
            return
        self._sent_epoch[link] = self.admission.epoch
        try:
            self._transmit(link, waiting, data)
        except ConnectionError as error:
            # It closed in this very turn of the loop; connection_lost has yet to come.
            del self._busy[link]
            self._answer_all(waiting, Disconnected(str(error)))

    def _transmit(self, link: Link, waiting: list[Waiting], data: bytes) -> None:
        self._busy[link] = (time.monotonic(), waiting)
        link.send(data, lambda reply: self._on_reply(link, reply, data))

    def _refuse_unencodable(self, waiting: list[Waiting], error: Exception) -> None:
        """One command that cannot travel must not take its batch along: try each alone."""
        if len(waiting) == 1:
            self._answer(waiting[0], InvalidCommand(f"cannot be encoded: {error}"))
            return
        for one in waiting:
            try:
                self._encode([one])
            except (ValueError, OverflowError, TypeError, msgspec.MsgspecError) as reason:
                self._answer(one, InvalidCommand(f"cannot be encoded: {reason}"))
            else:
                self._queue.append(one)
        self._plan()

    def _plan(self) -> None:
        if not self._pump_planned and self._queue:
            self._pump_planned = True
            self._loop.call_soon(self._pump)

    def _on_reply(self, link: Link, reply: Any, data: bytes) -> None:
        sent_at, waiting = self._busy.pop(link)
        if type(reply) is bytes:
            self._rest(link)
            took_s = time.monotonic() - sent_at
            self.script_seconds += took_s
            if self._sent_epoch[link] != self.admission.epoch:
                # It ran in a life that has ended since: whether the next one knows of it, this answer cannot tell.
                self._answer_all(waiting, OutcomeUnknown("the epoch ended before the answer came"))
            else:
                self._deliver(waiting, reply, took_s)
        elif reply is None:
            self._rest(link)
            self._answer_all(waiting, NotReady("the partition's state in Redis is missing or of another epoch"))
        elif isinstance(reply, hiredis.ReplyError):
            self._on_error(link, waiting, str(reply), data)
        else:
            self._answer_all(waiting, OutcomeUnknown("the connection was lost before the answer came"))
        if self._queue and self._idle:
            self._pump()
        elif self._refusal:
            # What was put back into the queue meanwhile would wait until something is admitted again, if ever.
            self._fail_queue(NotReady(self._refusal))
        if self._closed and not self._busy:
            self._all_answered.set()

    def _on_error(self, link: Link, waiting: list[Waiting], message: str, data: bytes) -> None:
        if message.startswith("NOSCRIPT"):
            # A restart, a failover or SCRIPT FLUSH: nothing ran. Load it and send the same batch again.
            try:
                link.send(encode([b"SCRIPT", b"LOAD", self._script.source.encode()]), lambda _: None)
                self._transmit(link, waiting, data)
            except ConnectionError as error:
                self._busy.pop(link, None)
                self._answer_all(waiting, Disconnected(str(error)))
            return
        self._rest(link)
        self.last_error = self._script.translate(message)
        if _SCRIPT_ERROR.match(message) and len(waiting) > 1:
            # Something in Redis that one of them names is damaged. Nothing was written; alone, only that one fails.
            self._queue.extendleft(reversed(waiting))
            self._suspects += len(waiting)
            return
        freeing = [one for one in waiting if not isinstance(one[0], _GROWING)]
        if message.startswith("OOM") and 0 < len(freeing) < len(waiting):
            # Nothing was written. What only ends holds is let through alone, so that memory can come back.
            self._queue.extendleft(reversed(freeing))
            waiting = [one for one in waiting if isinstance(one[0], _GROWING)]
        self._answer_all(waiting, StoreRefused(self.last_error))

    def _deliver(self, waiting: list[Waiting], data: bytes, took_s: float) -> None:
        try:
            now_ms, seq, results, due = decode_answer(data, len(waiting))
        except ValueError as error:
            # A script of another version answered: it ran, and what it did cannot be told.
            self._answer_all(waiting, OutcomeUnknown(f"the answer cannot be read: {error}"))
            return
        self.batches += 1
        self.commands += len(results)
        self.tally.note(waiting, results, took_s)
        again: list[Waiting] = []
        epoch = self.admission.epoch
        for one, result in zip(waiting, results, strict=True):
            status = result[0]
            if status not in _NOT_FOR_CALLERS:
                self._answer(one, Reply(status, result[1:] if len(result) > 1 else (), now_ms, seq, epoch))
            elif status == UNREADABLE:
                self._answer(one, OutcomeUnknown("Redis holds something under this name that is not text"))
            else:
                again.append(one)
        if again:
            # Stock is short while holds are due: end them in the same round and ask again behind them.
            expires: list[Waiting] = [(Expire(member[:BASE_LENGTH], member), self._on_expired) for member in due]
            self._queue.extendleft(reversed(again))
            self._queue.extendleft(reversed(expires))

    def _on_expired(self, command: Command, reply: Reply | Unavailable | InvalidCommand) -> None:
        """Remember what cannot be ended, or the commands that wait for it would never get an answer."""
        impossible = isinstance(reply, InvalidCommand) or (
            isinstance(reply, Reply) and reply.status in {"inconsistent", "malformed"}
        )
        if impossible:
            self._damaged_since = self._damaged_since if self._damaged else time.monotonic()
            self._damaged.add(command.member)  # type: ignore[union-attr]
            if len(self._damaged) > MAX_DAMAGED or ANY_MEMBER in self._damaged:
                self._damaged = {ANY_MEMBER}

    def _answer(self, one: Waiting, reply: Reply | Unavailable | InvalidCommand) -> None:
        try:
            one[1](one[0], reply)
        except Exception as error:  # noqa: BLE001  whatever it is, the others of the batch must get their answers
            self._loop.call_exception_handler({"message": "a caller failed to take its answer", "exception": error})

    def _answer_all(self, waiting: list[Waiting], error: Unavailable) -> None:
        for one in waiting:
            self._answer(one, error)

    def _fail_queue(self, error: Unavailable) -> None:
        waiting, self._queue = list(self._queue), deque()
        self._answer_all(waiting, error)

    async def _open(self) -> None:
        link = await open_link(self._address, self._lost)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await link.call(b"SCRIPT", b"LOAD", self._script.source.encode())
                # Last, so that no server can take its place unseen: it would have another connection.
                link.run_id = run_id_in(await link.call(b"INFO", b"server"))
        except BaseException:
            link.close()
            raise
        self._links.add(link)
        self._rest(link)
        self._judge()
        self._plan()

    def _rest(self, link: Link) -> None:
        """The link has nothing to do: it may take the next batch, if its server is admitted."""
        (self._idle if self.admission.serves(link.run_id) else self._parked).append(link)

    def _admission_changed(self) -> None:
        resting, self._idle, self._parked = self._idle + self._parked, [], []
        for link in resting:
            self._rest(link)
        self._judge()
        self._plan()

    def _judge(self) -> None:
        """See whether any link may be used; if none may, nobody waits for one."""
        admission = self.admission
        if not self._links or any(admission.serves(link.run_id) for link in self._links):
            self._refusal = ""
            return
        self._refusal = admission.refusal or "Redis has restarted or is another server: it is held against the ledger"
        self._fail_queue(NotReady(self._refusal))

    def _lost(self, link: Link) -> None:
        if link not in self._links:
            # It never came into use: whoever was opening it has been told.
            return
        self._links.discard(link)
        self._sent_epoch.pop(link, None)
        for resting in (self._idle, self._parked):
            if link in resting:
                resting.remove(link)
        if self._closed:
            return
        self._judge()
        if not self._links:
            self._fail_queue(Disconnected("the connection to Redis was lost"))
        if not self._reconnecting:
            self._reconnecting = True
            self._keep(self._reconnect())

    async def _reconnect(self) -> None:
        wait = RECONNECT_FIRST_S
        try:
            while not self._closed and len(self._links) < self._settings.links:
                try:
                    await self._open()
                except Exception as error:  # noqa: BLE001  whoever stops trying never serves again
                    self.last_error = f"{type(error).__name__}: {error}"
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, RECONNECT_MOST_S)
        finally:
            self._reconnecting = False

    async def _watch(self) -> None:
        """A server that stops answering without closing (SIGSTOP, a cut cable) must not hold callers for ever."""
        while True:
            await asyncio.sleep(REPLY_TIMEOUT_S / 10)
            now = time.monotonic()
            self._close_silent(now)
            if now - self._damaged_since > DAMAGE_REMEMBERED_S:
                self._damaged.clear()

    def _close_silent(self, now: float) -> None:
        for link, (sent_at, _) in list(self._busy.items()):
            if now - sent_at > REPLY_TIMEOUT_S:
                link.close()

    def _keep(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _adds_stock_work(command: Command) -> bool:
    """True for what would keep the journal growing: new holds, larger ones, and changes of stock."""
    return isinstance(command, Reserve | Adjust) or (isinstance(command, Amend) and bool(command.lines))


def _weight(command: Command) -> int:
    """About how many lines a command costs; exact counting would cost the hot path more than it saves."""
    lines = getattr(command, "lines", None)
    if lines is None:
        lines = getattr(command, "member", ())
    if type(lines) is str:
        return 1 + len(lines) // 16
    return 1 + len(lines) if lines else len(bases_of(command)) or 1
