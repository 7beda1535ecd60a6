"""The orders stream: order events that a shop appends to a Redis stream, applied exactly once in effect.

Owns reading, acknowledging, repeating and setting aside; what an event means stands in inventory/orders.py. An entry is
delivered at least once and every event may be repeated, so nothing here needs to know whether it was applied before.

Events of one order are applied one after another in the order of the stream, events of different orders at the same
time. An entry is acknowledged once its effect is in the ledger, or once it stands in Postgres as a dead letter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from typing import Any, Final

import structlog
from msgspec import Struct
from redis.exceptions import RedisError, ResponseError

from engine.client import ANSWER_TIMEOUT_S, open_client
from engine.errors import InvalidCommand, Unavailable
from inventory import order_dead_letters
from inventory.context import Inventory
from inventory.order_events import OrderCancelled, OrderEvent, read_event
from inventory.orders import Reporter, report_order
from inventory.refusals import InvalidRequest, Refusal, UnknownOrder
from persistence.database import DatabaseUnavailable
from worker.failpoints import Hook, nothing
from worker.order_entry import Entry, UnreadableEntry

ACTOR: Final = "orders-stream"
"""created_by of the ledger rows."""

STEPS: Final = ("after_read", "after_apply", "after_set_aside", "after_ack")
"""The named steps at which a test may kill the process, in the order an entry passes them."""

AWAY: Final = (Unavailable, DatabaseUnavailable, RedisError, OSError, *order_dead_letters.PASSING)
"""Says nothing about the event: it is repeated until there is an answer."""


class OrderStreamSettings(Struct, frozen=True, kw_only=True):
    """Every limit of the consumer. Times in milliseconds."""

    stream: str = ""
    """Name of the stream; empty: nothing is consumed."""
    redis_url: str = ""
    """Where the stream is."""
    group: str = "holdfast"
    block_ms: int = 1_000
    """How long one read waits for news; a stop is noticed this late."""
    batch: int = 100
    max_in_flight: int = 200
    """Entries under way; no more are read meanwhile."""
    at_a_time: int = 16
    """Events applied at the same time."""
    claim_every_ms: int = 5_000
    claim_idle_ms: int = 30_000
    """An entry that its consumer has not finished for this long is taken over by another."""
    trim_every_ms: int = 1_000
    unknown_order_delays_ms: tuple[int, ...] = (500, 1_000, 2_000, 4_000, 8_000)
    """Pauses before a cancellation of an unknown order is tried again: its `order.created` may be on the way."""
    max_postponed: int = 1_000
    """Such cancellations that wait at the same time; more are set aside at once."""
    bug_attempts: int = 3
    """How often an event is tried that ends in an error nobody foresaw."""
    first_back_off_ms: int = 100
    last_back_off_ms: int = 5_000
    drain_ms: int = 3_000
    """How long a stop lets what is under way come to its end; the rest is left to the next consumer."""


class OrderStreamStatus(Struct):
    """What the consumer knows of itself. Mutable: it is the consumer's own counter sheet."""

    applied: int = 0
    dead: int = 0
    """Entries set aside."""
    repeated: int = 0
    """Attempts that had to be made again."""
    lag_entries: int = 0
    """Entries of the stream that are not acknowledged yet, as last seen."""
    in_flight: int = 0
    postponed: int = 0
    waiting: bool = False
    """True while Redis gives no answer, or not the one of a stream."""


class _Work(Struct):
    """An entry under way, and what is known of it."""

    entry: Entry
    event: OrderEvent | None = None
    postponements: int = 0


class OrderStream:
    """One consumer of the group. `run` once."""

    def __init__(self, inventory: Inventory, settings: OrderStreamSettings, hook: Hook = nothing) -> None:
        self._inventory = inventory
        self._settings = settings
        self._hook = hook
        self._consumer = f"{socket.gethostname()}:{os.getpid()}"
        self._redis = open_client(
            settings.redis_url, answer_timeout_s=ANSWER_TIMEOUT_S + settings.block_ms / 1000, protocol=2
        )
        self._lanes: dict[str, deque[_Work]] = {}
        """Order -> its entries that wait for their turn. A lane exists while a task works on it."""
        self._held: set[str] = set()
        """Stream ids that this consumer works on, postponed ones included."""
        self._settled: set[str] = set()
        """Stream ids finished since the latest question for abandoned ones: its answer may still name them."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(settings.at_a_time)
        self._finished = asyncio.Event()
        self._stop = asyncio.Event()
        self._claim_at = self._trim_at = 0.0
        self._log = structlog.get_logger("worker.orders").bind(stream=settings.stream)
        self.status = OrderStreamStatus()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop`; then finish what is under way. Survives Redis and Postgres going away."""
        self._stop = stop
        back_off = _BackOff(self._settings)
        try:
            while not stop.is_set():
                try:
                    await self._round()
                except (RedisError, OSError) as error:
                    if _is_no_group(error) and await self._made_group():
                        continue
                    if not self.status.waiting:
                        self._log.error("orders stream waits for Redis", reason=f"{type(error).__name__}: {error}")
                    self.status.waiting = True
                    await _pause(stop, back_off.next_s())
                else:
                    if self.status.waiting:
                        self._log.info("orders stream goes on")
                    self.status.waiting = False
                    back_off.reset()
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._settings.drain_ms / 1000)
            for task in tuple(self._tasks):
                task.cancel()
            await self._redis.aclose()

    async def _round(self) -> None:
        """Take over, trim and read, as far as it is time and there is room."""
        settings = self._settings
        now = time.monotonic()
        room = settings.max_in_flight - self.status.in_flight
        if room <= 0:
            self._finished.clear()
            await _pause(self._finished, settings.block_ms / 1000)
            return
        if now >= self._claim_at:
            self._claim_at = now + settings.claim_every_ms / 1000
            room -= await self._take_over(room)
        if now >= self._trim_at:
            self._trim_at = now + settings.trim_every_ms / 1000
            await self._trim()
        if room <= 0:
            return
        answer: Any = await self._redis.xreadgroup(
            settings.group,
            self._consumer,
            {settings.stream: ">"},
            count=min(room, settings.batch),
            block=settings.block_ms,
        )
        for _, entries in answer:
            self._take(entries)

    async def _made_group(self) -> bool:
        """Make the group, and the stream with it; False when Redis would not.

        From the beginning of the stream: what was applied before is applied again, in vain.
        """
        try:
            await self._redis.xgroup_create(self._settings.stream, self._settings.group, "0", mkstream=True)
        except ResponseError as error:
            return str(error).startswith("BUSYGROUP")
        except (RedisError, OSError):
            return False
        self._log.info("consumer group made", group=self._settings.group)
        return True

    async def _take_over(self, room: int) -> int:
        """Take entries that their consumer, dead or disconnected in the middle of a reply, has left lying."""
        taken = 0
        start: Any = "0-0"
        while taken < room:
            self._settled.clear()
            answer: Any = await self._redis.xautoclaim(
                self._settings.stream,
                self._settings.group,
                self._consumer,
                self._settings.claim_idle_ms,
                start,
                count=min(room - taken, self._settings.batch),
            )
            start, entries = answer[0], answer[1]
            taken += self._take([entry for entry in entries if entry[0].decode() not in self._settled])
            if start == b"0-0":
                break
        return taken

    def _take(self, entries: list[tuple[bytes, dict[bytes, bytes] | None]]) -> int:
        """Put entries into the lanes of their orders; gives how many were new here."""
        taken = 0
        for raw_id, fields in entries:
            entry = Entry(raw_id.decode(), fields or {})
            if entry.stream_id in self._held:
                continue
            taken += 1
            self._held.add(entry.stream_id)
            self.status.in_flight += 1
            self._hook("after_read")
            self._put(_Work(entry))
        return taken

    def _put(self, work: _Work) -> None:
        if work.event is None:
            # What is wrong with it is told when its turn comes, by the same call.
            with contextlib.suppress(UnreadableEntry, Refusal):
                work.event = read_event(work.entry.body())
        # What names no order has a lane of its own.
        lane = f"order {work.event.order_id}" if work.event is not None else f"entry {work.entry.stream_id}"
        if lane in self._lanes:
            self._lanes[lane].append(work)
        else:
            self._lanes[lane] = deque([work])
            self._start(self._run_lane(lane))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_lane(self, lane: str) -> None:
        waiting = self._lanes[lane]
        while waiting and not self._stop.is_set():
            await self._settle(waiting.popleft())
        # Without an await in between: an entry that comes now begins a lane anew.
        del self._lanes[lane]

    async def _settle(self, work: _Work) -> None:
        """Apply, postpone or set aside; again and again while Redis or Postgres gives no answer."""
        back_off = _BackOff(self._settings)
        bugs = 0
        while not self._stop.is_set():
            try:
                async with self._slots:
                    postponed = await self._attempt(work)
            except AWAY as error:
                self._log.warning("order event waits", entry=work.entry.stream_id, reason=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - one entry must not end the worker over and over
                bugs += 1
                self._log.exception("order event failed", entry=work.entry.stream_id)
                if bugs >= self._settings.bug_attempts and await self._gave_up(work, error):
                    return
            else:
                if not postponed:
                    self._done(work)
                return
            self.status.repeated += 1
            await _pause(self._stop, back_off.next_s())

    async def _attempt(self, work: _Work) -> bool:
        """One try. True if it was postponed; else it is acknowledged. Raises one of AWAY, or a bug."""
        try:
            event = work.event or read_event(work.entry.body())
            await report_order(self._inventory, Reporter(ACTOR), event)
        except order_dead_letters.PASSING:
            raise
        except UnknownOrder as refusal:
            if isinstance(work.event, OrderCancelled) and self._may_be_postponed(work):
                self._postpone(work)
                return True
            await self._set_aside(work, refusal)
        except Refusal as refusal:
            await self._set_aside(work, refusal)
        except (UnreadableEntry, InvalidCommand) as error:
            await self._set_aside(work, InvalidRequest(str(error)))
        else:
            self._hook("after_apply")
            await self._acknowledge(work)
            self.status.applied += 1
        return False

    async def _set_aside(self, work: _Work, refusal: Refusal) -> None:
        await order_dead_letters.set_aside(
            self._inventory,
            stream=self._settings.stream,
            stream_id=work.entry.stream_id,
            body=work.entry.as_kept(),
            order_id=work.event.order_id if work.event is not None else None,
            refusal=refusal,
        )
        self._hook("after_set_aside")
        await self._acknowledge(work)
        self.status.dead += 1
        self._log.warning("order event set aside", entry=work.entry.stream_id, code=refusal.code)

    async def _gave_up(self, work: _Work, error: Exception) -> bool:
        """Set aside what ended in an error of ours; False if even that cannot be done now."""
        try:
            await self._set_aside(work, Refusal(f"{type(error).__name__}, see the worker's log"))
        except Exception:  # noqa: BLE001 - it stays unacknowledged, so it is tried again for as long as it takes
            self._log.exception("order event cannot be set aside", entry=work.entry.stream_id)
            return False
        self._done(work)
        return True

    async def _acknowledge(self, work: _Work) -> None:
        await self._redis.xack(self._settings.stream, self._settings.group, work.entry.stream_id)
        self._hook("after_ack")

    def _done(self, work: _Work) -> None:
        self._held.discard(work.entry.stream_id)
        self._settled.add(work.entry.stream_id)
        self.status.in_flight -= 1
        self._finished.set()

    def _may_be_postponed(self, work: _Work) -> bool:
        settings = self._settings
        return (
            work.postponements < len(settings.unknown_order_delays_ms)
            and self.status.postponed < settings.max_postponed
        )

    def _postpone(self, work: _Work) -> None:
        """Let it come again later, and others pass meanwhile."""
        delay_ms = self._settings.unknown_order_delays_ms[work.postponements]
        work.postponements += 1
        self.status.postponed += 1
        self.status.in_flight -= 1
        self._finished.set()
        self._start(self._come_again(work, delay_ms / 1000))

    async def _come_again(self, work: _Work, delay_s: float) -> None:
        await _pause(self._stop, delay_s)
        self.status.postponed -= 1
        self.status.in_flight += 1
        if not self._stop.is_set():
            self._put(work)

    async def _trim(self) -> None:
        """Let go what every group of the stream has acknowledged, and see how much is left for ours."""
        stream, group = self._settings.stream, self._settings.group
        floor: tuple[int, int] | None = None
        lag: int | None = None
        groups: Any = await self._groups()
        for one in groups:
            name = one["name"]
            bound = _number(one["last-delivered-id"])
            bound = (bound[0], bound[1] + 1)
            if one["pending"]:
                pending: Any = await self._redis.xpending(stream, name)
                if pending["pending"]:
                    bound = _number(pending["min"])
            floor = bound if floor is None else min(floor, bound)
            if name == group.encode():
                lag = one.get("lag")
                lag = None if lag is None else lag + one["pending"]
        if floor is not None:
            await self._redis.xtrim(stream, minid=f"{floor[0]}-{floor[1]}", approximate=False)
        self.status.lag_entries = lag if lag is not None else int(await self._redis.xlen(stream))

    async def _groups(self) -> list[dict[str, Any]]:
        try:
            groups: Any = await self._redis.xinfo_groups(self._settings.stream)
        except ResponseError as error:
            if "no such key" in str(error):
                return []
            raise
        return list(groups)


class _BackOff:
    """Twice as long each time, up to the last one."""

    def __init__(self, settings: OrderStreamSettings) -> None:
        self._first_ms, self._last_ms = settings.first_back_off_ms, settings.last_back_off_ms
        self._next_ms = self._first_ms

    def next_s(self) -> float:
        now_ms, self._next_ms = self._next_ms, min(2 * self._next_ms, self._last_ms)
        return now_ms / 1000

    def reset(self) -> None:
        self._next_ms = self._first_ms


def _is_no_group(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("NOGROUP")


def _number(stream_id: bytes | str) -> tuple[int, int]:
    text = stream_id.decode() if isinstance(stream_id, bytes) else stream_id
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)


async def _pause(until: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds`, or less when `until` is set."""
    try:
        await asyncio.wait_for(until.wait(), seconds)
    except TimeoutError:
        return
