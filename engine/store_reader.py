"""Redis as an auditor reads it: counters, deadlines and records in chunks, each chunk at one known sequence number.

Owns the reading commands; never writes (but for `restore_deadline`) and never judges what it finds. A chunk is one
MULTI of a few milliseconds at most, so that nobody waits for an audit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError, WatchError

from engine.errors import Disconnected
from engine.identity import BASE_LENGTH, make_id
from engine.keys import PartitionKeys
from engine.results import Record
from engine.stored_numbers import standing, whole

CHUNK: Final = 500
"""Fields, members or keys that one call looks at: neither Redis nor the caller's event loop is held for long."""

T = TypeVar("T")
_decode_record = msgspec.msgpack.Decoder(Record).decode


class Moment(Struct, frozen=True):
    """Where the state machine stood when a chunk was read."""

    epoch: int
    """0: there is no state."""
    seq: int
    """Of the last event."""
    now_ms: int
    """The server's clock, Unix ms."""


class Chunk(Struct, Generic[T], frozen=True):
    """Some of a collection, all of it true at one moment."""

    moment: Moment
    items: list[T]
    cursor: int
    """Where to go on; 0 at the end. An item may come twice; one that is there from start to end comes at least once."""


class Counters(Struct, frozen=True, gc=False):
    """One SKU's counters. `on_hand` is -1 when the field cannot be read."""

    sku: str
    on_hand: int
    reserved: int


class Deadline(Struct, frozen=True, gc=False):
    """One live hold as the deadline set has it."""

    reservation_id: str
    lines: str
    deadline_ms: int


class StoreReader:
    """Reads one partition over the engine's own client. Every method raises Disconnected when Redis gives no answer."""

    def __init__(self, redis: Redis, keys: PartitionKeys) -> None:
        self._redis = redis
        self._keys = keys

    async def moment(self) -> Moment:
        """Where the state machine stands."""
        moment, _ = await self._at_once(("HLEN", self._keys.stock))
        return moment

    async def counters(self, cursor: int) -> Chunk[Counters]:
        """About CHUNK SKUs from `cursor` (0: the first) on."""
        moment, (after, pairs) = await self._at_once(("HSCAN", self._keys.stock, cursor, "COUNT", CHUNK))
        fields = pairs.items() if isinstance(pairs, dict) else zip(pairs[::2], pairs[1::2], strict=True)
        return Chunk(moment, [_counters(sku, value) for sku, value in fields], int(after))

    async def counters_of(self, skus: Sequence[str]) -> Chunk[Counters]:
        """The counters of these (at most CHUNK) SKUs; those that are not there are left out."""
        moment, values = await self._at_once(("HMGET", self._keys.stock, *skus))
        found = [_counters(sku.encode(), value) for sku, value in zip(skus, values, strict=True) if value is not None]
        return Chunk(moment, found, 0)

    async def deadlines(self, cursor: int) -> Chunk[Deadline]:
        """About CHUNK live holds from `cursor` (0: the first) on."""
        moment, (after, flat) = await self._at_once(("ZSCAN", self._keys.deadlines, cursor, "COUNT", CHUNK))
        return Chunk(moment, _deadlines(flat), int(after))

    async def deadlines_at(self, deadline_ms: int) -> Chunk[Deadline]:
        """Every live hold with exactly this deadline."""
        moment, flat = await self._at_once(
            ("ZRANGE", self._keys.deadlines, deadline_ms, deadline_ms, "BYSCORE", "WITHSCORES")
        )
        return Chunk(moment, _deadlines(flat), 0)

    async def deadlines_before(self, deadline_ms: int, count: int) -> Chunk[Deadline]:
        """The first `count` live holds with a deadline before this one, oldest first."""
        moment, flat = await self._at_once(
            ("ZRANGE", self._keys.deadlines, "-inf", f"({deadline_ms}", "BYSCORE", "LIMIT", 0, count, "WITHSCORES")
        )
        return Chunk(moment, _deadlines(flat), 0)

    async def first_deadline_ms(self) -> int | None:
        """The deadline of the hold that ends next; None when there is no hold."""
        _, flat = await self._at_once(("ZRANGE", self._keys.deadlines, 0, 0, "WITHSCORES"))
        found = _deadlines(flat)
        return found[0].deadline_ms if found else None

    async def record_names(self, cursor: int) -> tuple[list[str], int]:
        """Bases of some records from `cursor` (0: the first) on, and where to go on."""
        pattern = "".join("\\" + letter if letter in "*?[]\\^" else letter for letter in self._keys.record_prefix) + "*"
        _, (after, names) = await self._at_once(("SCAN", cursor, "MATCH", pattern, "COUNT", CHUNK))
        return [name.decode().removeprefix(self._keys.record_prefix) for name in names], int(after)

    async def active_records(self, bases: Sequence[str]) -> Chunk[tuple[str, Record | None]]:
        """Of these bases (at most CHUNK) the records that say ACTIVE; None for one that cannot be read."""
        if not bases:
            return Chunk(await self.moment(), [], 0)
        moment, values = await self._at_once(("MGET", *map(self._keys.record, bases)))
        found: list[tuple[str, Record | None]] = []
        for base, raw in zip(bases, values, strict=True):
            if raw is None:
                continue
            try:
                record = _decode_record(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                if not _is_other_record(raw):
                    found.append((base, None))
                continue
            if record.status == "ACTIVE":
                found.append((base, record))
        return Chunk(moment, found, 0)

    async def journal(self, after_stream_id: str, count: int) -> list[tuple[str, bytes]]:
        """Up to `count` entries of the journal after `after_stream_id`, oldest first: (stream id, field `b`)."""
        try:
            answer: Any = await self._redis.execute_command(  # type: ignore[no-untyped-call]
                "XRANGE", self._keys.journal, f"({after_stream_id}", "+", "COUNT", count
            )
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot read from Redis: {type(error).__name__}") from error
        return [(stream_id.decode(), _body(fields)) for stream_id, fields in answer]

    async def restore_deadline(self, reservation_id: str, lines: str, deadline_ms: int) -> bool:
        """Put the deadline of an ACTIVE hold back that the deadline set has lost; False when the hold has changed.

        Done only while the hold's record says the same, these `lines` in any order, so that no ended hold gets a
        deadline again.
        """
        key = self._keys.record(reservation_id[:BASE_LENGTH])
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                await pipe.watch(key)
                raw: Any = await pipe.get(key)
                record = _decode_record(raw) if raw is not None else None
                if (
                    record is None
                    or record.status != "ACTIVE"
                    or make_id(reservation_id[:BASE_LENGTH], record.created_ms) != reservation_id
                    or record.deadline_ms != deadline_ms
                    or sorted(record.lines.split(",")) != sorted(lines.split(","))
                ):
                    return False
                pipe.multi()  # type: ignore[no-untyped-call]
                pipe.zadd(self._keys.deadlines, {f"{reservation_id} {record.lines}": deadline_ms}, nx=True)
                await pipe.execute()
        except (WatchError, msgspec.DecodeError, UnicodeDecodeError):
            return False
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot write to Redis: {type(error).__name__}") from error
        return True

    async def _at_once(self, command: tuple[Any, ...]) -> tuple[Moment, Any]:
        """One reading command and the moment it belongs to, in one MULTI."""
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.execute_command(*command)
                pipe.hmget(self._keys.meta, ["epoch", "seq"])
                pipe.time()
                answer, (epoch, seq), (seconds, micros) = await pipe.execute()
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot read from Redis: {type(error).__name__}") from error
        return Moment(*standing(epoch, seq), int(seconds) * 1000 + int(micros) // 1000), answer


def _counters(sku: bytes, value: bytes) -> Counters:
    name = sku.decode(errors="replace")
    parts = value.split(b" ")
    if len(parts) != 5 or not all(part.isdigit() for part in parts):
        return Counters(name, -1, -1)
    return Counters(name, int(parts[0]), int(parts[1]))


def _deadlines(flat: list[Any]) -> list[Deadline]:
    pairs = flat if flat and isinstance(flat[0], list | tuple) else zip(flat[::2], flat[1::2], strict=True)
    found = []
    for member, score in pairs:
        reservation_id, _, lines = member.decode(errors="replace").partition(" ")
        found.append(Deadline(reservation_id, lines, whole(float(score))))
    return found


def _is_other_record(raw: bytes) -> bool:
    """True for what a keyed adjustment, a repair or an announcement leaves: it holds no stock."""
    try:
        return isinstance(msgspec.msgpack.decode(raw), list)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _body(fields: Any) -> bytes:
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    return bytes(dict(pairs).get(b"b", b""))
