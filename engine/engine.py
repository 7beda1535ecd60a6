"""The engine: reserve, amend, confirm, release, expire, adjust against Redis, for any Python program.

    engine = await Engine.connect("redis://localhost:6379/0")
    hold = await engine.reserve([("SKU-1", 2)], customer_id="ann", ttl_ms=600_000)
    sale = await engine.confirm(hold.id, order_id="order-17")

The named verbs raise Rejected when the state machine says no. `execute` and `apply` give every status as a Result;
`submit` is the callback path that the HTTP hot path uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.admission import ANY_SERVER, Admission
from engine.awaited import AwaitedNotice
from engine.batcher import Batcher, BatcherSettings, OnReply
from engine.client import open_client
from engine.commands import (
    Amend,
    Availability,
    Command,
    Confirm,
    Read,
    Release,
    Reserve,
    lines_text,
)
from engine.errors import Disconnected, InvalidCommand, NotReady, Rejected, Unavailable
from engine.identity import derived_base, fingerprint, is_reservation_id, random_base, split_id
from engine.journal import entries_of
from engine.keys import partition_keys
from engine.limits import MAX_TTL_MS, MIN_TTL_MS
from engine.link import parse_url
from engine.observed import BatchObserver, ObservedBatcher
from engine.pulse_board import PulseBoard
from engine.replicated import ReplicatedBatcher, ReplicationSettings
from engine.results import Details, Reply, Reservation, Result, Status, StockLevel, decode_reply
from engine.scripts import Script, compose
from engine.store_reader import StoreReader
from engine.stored_numbers import standing, whole
from engine.vitals import Vitals, look

Lines = Iterable[tuple[str, int]]

APPLY_CHUNK: Final = 1024
"""Commands that one `apply` has waiting at a time."""


class EngineSettings(Struct, frozen=True):
    """How an engine behaves. Times in milliseconds."""

    epoch: int = 1
    """The life of the partition's Redis state this engine believes in; a batch that meets another is refused."""
    run_id: str = ANY_SERVER
    """Of the server that was admitted with this epoch; ANY_SERVER for an engine without a ledger behind it."""
    retention_ms: int = 3_600_000
    """How long an ended reservation can still be answered from Redis."""
    idempotency_window_ms: int = 86_400_000
    """How long an idempotency key is remembered, from the reservation's creation."""
    links: int = 2
    """Batches in flight at once. The second lets Redis parse one while it runs the other."""
    max_queue: int = 20_000
    """Commands that may wait; past this new ones are refused with Overloaded."""
    replicas: int = 0
    """Replicas that must have what `submit_replicated` is asked to do; 0: there are none, and it cannot be asked."""
    replica_timeout_ms: int = 1_000
    """How long they are waited for, up to 4,000; the answer is Unreplicated then."""
    clock_ms: int | None = None
    """A test's own clock; None for the server's."""
    observer: BatchObserver | None = None
    """Hears of every batch (engine/observed.py), for traces; None: nobody does, and it costs nothing."""
    script: Script | None = None
    """Another script than the one in lua/, for tests that break it on purpose; None for that one."""


class JournalState(Struct, frozen=True):
    """Where a partition's journal stands."""

    epoch: int
    seq: int
    """Sequence number of the last event."""
    last_now_ms: int
    length: int
    """Entries in the stream, trimmed ones not counted."""


class Gathering:
    """Many commands submitted together, their replies put back in order."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._replies: list[Reply | None] = []
        self._left = 0
        self._failure: Unavailable | InvalidCommand | None = None
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Submit all, wait for all. Raises the first failure after the last answer."""
        self._replies = [None] * len(commands)
        self._left = len(commands)
        for place, command in enumerate(commands):
            try:
                self._batcher.submit(command, partial(self._answered, place))
            except Unavailable as error:
                self._answered(place, command, error)
        await self._done
        return [reply for reply in self._replies if reply is not None]

    def _answered(self, place: int, _: Command, reply: Reply | Unavailable | InvalidCommand) -> None:
        if isinstance(reply, Reply):
            self._replies[place] = reply
        else:
            self._failure = self._failure or reply
        self._left -= 1
        if self._left == 0 and not self._done.done():
            if self._failure is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(self._failure)


class Engine:
    """The connection of one process to the state machine. Bound to the event loop that connected it."""

    def __init__(self, batcher: Batcher, redis: Redis, replicated: ReplicatedBatcher | None = None) -> None:
        self._batcher = batcher
        self._replicated = replicated
        self._redis = redis
        self._keys = partition_keys(0)
        self._awaited = AwaitedNotice(redis, self._keys)

    @classmethod
    async def connect(cls, url: str, settings: EngineSettings | None = None, *, patient: bool = False) -> Engine:
        """Connect to `url` (redis://, rediss:// or unix://). Raises Disconnected or InvalidCommand (a bad URL).

        `patient`: Redis may be away. Everything is refused as Disconnected until it can be reached.
        """
        chosen = settings or EngineSettings()
        address, script, keys = parse_url(url), chosen.script or compose(), partition_keys(0)
        batching = BatcherSettings(
            epoch=chosen.epoch,
            retention_ms=chosen.retention_ms,
            idempotency_window_ms=chosen.idempotency_window_ms,
            links=chosen.links,
            max_queue=chosen.max_queue,
            clock_ms=chosen.clock_ms,
        )
        admission = Admission(chosen.epoch, chosen.run_id)
        if chosen.observer is None:
            batcher = Batcher(address, script, keys, batching, admission)
        else:
            batcher = observed = ObservedBatcher(address, script, keys, batching, admission)
            observed.observer = chosen.observer
        await batcher.start(patient=patient)
        replicated = None
        if chosen.replicas:
            replication = ReplicationSettings(chosen.replicas, chosen.replica_timeout_ms)
            replicated = ReplicatedBatcher(address, script, keys, batching, admission, replication, batcher.tally)
            try:
                await replicated.start(patient=patient)
            except BaseException:
                await batcher.close()
                raise
        # The client reads outside the state machine.
        return cls(batcher, open_client(url), replicated)

    async def close(self) -> None:
        """Answer what is in flight and close the connections."""
        await self._batcher.close()
        if self._replicated is not None:
            await self._replicated.close()
        await self._awaited.close()
        await self._redis.aclose()

    @property
    def batcher(self) -> Batcher:
        """The queue and the links, for metrics and for a test's clock."""
        return self._batcher

    @property
    def admission(self) -> Admission:
        """What this process may serve; whoever has a ledger keeps it up to date."""
        return self._batcher.admission

    @property
    def epoch(self) -> int:
        """Of the state that is served, or was served last."""
        return self._batcher.admission.epoch

    @property
    def refusal(self) -> str:
        """Why nothing is served although Redis is connected; empty when something is."""
        return self._batcher.refusal

    @property
    def queue_depth(self) -> int:
        """Commands waiting for a batch."""
        return sum(batcher.queue_depth for batcher in self._batchers())

    @property
    def in_flight(self) -> int:
        """Batches sent and not yet answered."""
        return sum(batcher.in_flight for batcher in self._batchers())

    @property
    def connected(self) -> bool:
        """True while commands can be sent."""
        return all(batcher.connected for batcher in self._batchers())

    @property
    def unreplicated(self) -> int:
        """Commands that were applied, but answered with Unreplicated, since the start."""
        return 0 if self._replicated is None else self._replicated.unreplicated

    def submit(self, command: Command, on_reply: OnReply) -> None:
        """Queue a command; `on_reply(command, reply)` is called once from the event loop.

        `reply` is a Reply, or the Unavailable (or InvalidCommand) that kept it from being answered. Raises
        Overloaded, Disconnected, NotReady or JournalFull when the command was not even queued. Bases come from
        engine.identity.
        """
        self._batcher.submit(command, on_reply)

    def submit_replicated(self, command: Command, on_reply: OnReply) -> None:
        """As `submit`, answered once the replicas of the settings have what the answer says; Unreplicated if not.

        Raises InvalidCommand as well, when the settings name no replicas.
        """
        if self._replicated is None:
            raise InvalidCommand("no replicas are set that could be waited for")
        self._replicated.submit(command, on_reply)

    async def execute(self, command: Command, *, replicated: bool = False) -> Result:
        """Run one command. Any status comes back as a Result; raises Unavailable or InvalidCommand.

        `replicated`: the answer comes once the replicas have it, as with `submit_replicated`. Cancelling the caller
        does not take the command back: it may already be in a batch.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        (self.submit_replicated if replicated else self.submit)(command, partial(_settle, future))
        try:
            return decode_reply(command, await future)
        finally:
            # As in Link.call: an error and a frame that hold each other stay until the garbage collector comes.
            del future

    async def apply(self, commands: Sequence[Command]) -> list[Result]:
        """Run many commands, in as few batches as the limits allow; results in order.

        Raises the first Unavailable or InvalidCommand met; by then other commands may have been applied.
        """
        replies = await self.apply_raw(commands)
        return [decode_reply(command, reply) for command, reply in zip(commands, replies, strict=True)]

    async def apply_raw(self, commands: Sequence[Command]) -> list[Reply]:
        """As `apply`, without making Results of the answers: for bulk callers that count microseconds."""
        replies: list[Reply] = []
        for offset in range(0, len(commands), APPLY_CHUNK):
            replies += await Gathering(self._batcher).run(commands[offset : offset + APPLY_CHUNK])
        return replies

    async def reserve(
        self,
        lines: Lines,
        *,
        customer_id: str,
        cart_id: str | None = None,
        ttl_ms: int = 1_800_000,
        allow_partial: bool = False,
        caller: str = "",
        idempotency_key: str = "",
    ) -> Reservation:
        """Hold `lines` for `ttl_ms` (1,000 to 86,400,000).

        With an `idempotency_key` a repeated call by the same `caller` gives the same reservation. Raises Rejected (with
        the shortages or the unknown SKUs), InvalidCommand, Unavailable.
        """
        if not MIN_TTL_MS <= ttl_ms <= MAX_TTL_MS:
            raise InvalidCommand(f"ttl_ms must be from {MIN_TTL_MS} to {MAX_TTL_MS}")
        text = lines_text(lines)
        details = Details(customer_id, cart_id, ttl_ms, text if allow_partial else "")
        encoded = msgspec.json.encode(details)
        command = Reserve(
            base=derived_base("reserve", caller, idempotency_key) if idempotency_key else random_base(),
            lines=text,
            ttl_ms=ttl_ms,
            partial=allow_partial,
            owner=caller,
            fingerprint=fingerprint(text.encode() + encoded) if idempotency_key else "",
            details=encoded.decode(),
        )
        return self._one(await self.execute(command))

    async def amend(
        self, reservation_id: str, lines: Lines | None = None, *, ttl_ms: int = 0, caller: str = ""
    ) -> Reservation:
        """Give a hold a new set of lines and/or a deadline `ttl_ms` from now. On shortage it stays as it was."""
        base, created = self._split(reservation_id)
        text = "" if lines is None else lines_text(lines)
        return self._one(await self.execute(Amend(base, created, text, ttl_ms, caller, caller)))

    async def confirm(
        self, reservation_id: str, *, order_id: str = "", caller: str = "", late: bool = False
    ) -> Reservation:
        """Turn a hold into a sale. Again with the same order id: the same answer."""
        command = Confirm((self._split(reservation_id),), order_id, caller, caller, late)
        return self._one(await self.execute(command))

    async def release(self, reservation_id: str, *, caller: str = "") -> Reservation:
        """Give a hold back. Again: the same answer."""
        base, created = self._split(reservation_id)
        return self._one(await self.execute(Release(base, created, caller, caller)))

    async def reservation(self, reservation_id: str, *, caller: str = "") -> Reservation:
        """Look at one reservation that Redis still has. Raises Rejected with unknown_reservation."""
        base, created = self._split(reservation_id)
        return self._one(await self.execute(Read(base, created, caller)))

    async def availability(self, skus: Iterable[str]) -> tuple[StockLevel, ...]:
        """The counters of some SKUs. Raises Rejected with unknown_sku."""
        result = await self.execute(Availability(lines_text((sku, 1) for sku in skus)))
        if result.status != Status.OK:
            raise Rejected(result)
        return result.levels

    async def stock_levels(self, skus: Sequence[str] | None = None) -> list[StockLevel]:
        """The counters of `skus` (unknown ones left out), or of every SKU, read without the state machine.

        Counters that cannot be read are left out as well: reconciliation reports them.
        Every SKU means a walk in chunks: each level is true at its own moment. Raises Unavailable.
        """
        levels = []
        self._require_admitted()
        try:
            if skus is not None:
                for offset in range(0, len(skus), 1000):
                    some = list(skus[offset : offset + 1000])
                    values: list[Any] = await self._redis.hmget(self._keys.stock, some)
                    found = zip(map(str.encode, some), values, strict=True)
                    levels += [level for sku, value in found if value and (level := level_of(sku, value))]
            else:
                seen: dict[bytes, bytes] = {}
                cursor = 0
                while True:
                    answer: Any = await self._redis.hscan(self._keys.stock, cursor, count=2000)
                    cursor, chunk = answer
                    # A walk may show a field twice; the later look is the truer one.
                    seen.update(chunk)
                    if cursor == 0:
                        break
                levels = [level for sku, value in seen.items() if (level := level_of(sku, value))]
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot read from Redis: {type(error).__name__}") from error
        # What was read may have been another server's by then, or half wiped.
        self._require_admitted()
        return levels

    def ledger_awaited(self) -> None:
        """Tell the flusher that somebody begins to wait for the ledger. Returns at once, and costs next to nothing."""
        self._awaited.give()

    def store_reader(self) -> StoreReader:
        """What an audit reads with: everything in chunks, each at a known sequence number."""
        return StoreReader(self._redis, self._keys)

    def pulse_board(self) -> PulseBoard:
        """Where the processes of a service tell each other how they are."""
        return PulseBoard(self._redis, self._keys)

    async def vitals(self, *, soon_ms: int = 60_000, flushed_to: str = "") -> Vitals:
        """One look at Redis and the partition, for people who watch (engine/vitals.py). Raises Unavailable."""
        return await look(self._redis, self._keys, soon_ms=soon_ms, flushed_to=flushed_to)

    async def journal_state(self) -> JournalState:
        """Where the journal stands. Raises Unavailable; NotReady's case (no state) reads as epoch 0."""
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(self._keys.meta, ["epoch", "seq", "last_now_ms"])
                pipe.xlen(self._keys.journal)
                meta, length = await pipe.execute()
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot read from Redis: {type(error).__name__}") from error
        epoch, seq = standing(*meta[:2])
        return JournalState(epoch=epoch, seq=seq, last_now_ms=whole(meta[2]), length=length)

    async def journal_memory(self) -> tuple[int, bytes]:
        """About how many bytes of Redis the journal takes, and its oldest entry, raw. Raises Unavailable."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.memory_usage(self._keys.journal)
                pipe.xrange(self._keys.journal, count=1)
                size, oldest = await pipe.execute()
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot read from Redis: {type(error).__name__}") from error
        return int(size or 0), bytes(oldest[0][1].get(b"b", b"")) if oldest else b""

    async def read_journal(self, after_stream_id: str, count: int, block_ms: int) -> list[tuple[str, bytes]]:
        """Up to `count` raw entries of the journal after a stream id, waiting up to `block_ms` (5,000 at most) for one.

        Has a connection of its own while it waits. Raises Unavailable.
        """
        try:
            answer: Any = await self._redis.xread({self._keys.journal: after_stream_id}, count=count, block=block_ms)
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot read from Redis: {type(error).__name__}") from error
        return entries_of(answer)

    def _batchers(self) -> Sequence[Batcher]:
        return [self._batcher] if self._replicated is None else [self._batcher, self._replicated]

    def _require_admitted(self) -> None:
        if not self._batcher.connected:
            raise Disconnected("there is no connection to Redis")
        if self._batcher.refusal:
            raise NotReady(self._batcher.refusal)

    @staticmethod
    def _split(reservation_id: str) -> tuple[str, int]:
        if not is_reservation_id(reservation_id):
            raise InvalidCommand("a reservation id is 36 hex digits")
        return split_id(reservation_id)

    @staticmethod
    def _one(result: Result) -> Reservation:
        if result.status not in {Status.OK, Status.REPLAYED}:
            raise Rejected(result)
        return result.reservations[0]


def level_of(sku: bytes, value: bytes) -> StockLevel | None:
    """A field of the stock hash as a StockLevel; None when it cannot be read."""
    parts = value.split(b" ")
    if len(parts) != 5 or not all(part.isdigit() for part in parts):
        return None
    on_hand, reserved, safety_stock, threshold, active = map(int, parts)
    return StockLevel(sku.decode(errors="replace"), on_hand, reserved, safety_stock, threshold, active == 1)


def _settle(future: asyncio.Future[Reply], _: Command, reply: Reply | Unavailable | InvalidCommand) -> None:
    if future.done():
        return
    if isinstance(reply, Reply):
        future.set_result(reply)
    else:
        future.set_exception(reply)
