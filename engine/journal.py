"""The journal as its reader meets it: raw entries after a position, in order, and trimming what is no longer needed.

Owns the Redis commands on the stream; never decodes an entry (engine/events.py) and never decides how far to trim.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import Struct
from redis import Redis

from engine.keys import partition_keys
from engine.stored_numbers import standing


class JournalExtent(Struct, frozen=True):
    """How much the stream holds at one moment."""

    length: int
    """Entries."""
    memory_bytes: int
    first_id: str
    """Stream id of the oldest entry; empty when there is none."""
    server_now_ms: int


class JournalReader:
    """Reads and trims the stream of one partition over a synchronous client that leaves answers as bytes.

    Every method raises redis.exceptions.RedisError as the client does.
    """

    def __init__(self, redis_client: Redis, partition: int) -> None:
        self._redis = redis_client
        self._keys = partition_keys(partition)

    def read(self, after_stream_id: str, count: int, block_ms: int) -> list[tuple[str, bytes]]:
        """Up to `count` entries after `after_stream_id`, oldest first, as (stream id, raw bytes of field `b`).

        Waits up to `block_ms` milliseconds for the first one; 0 does not wait. An entry without field `b` gives its
        fields packed with msgpack, which no reader takes for a batch.
        """
        answer = cast(
            "Any",
            self._redis.xread(
                {self._keys.journal: after_stream_id}, count=count, block=block_ms if block_ms > 0 else None
            ),
        )
        return entries_of(answer)

    def trim(self, before_stream_id: str) -> int:
        """Drop every entry older than `before_stream_id`, exactly; gives how many went."""
        return self._redis.xtrim(self._keys.journal, minid=before_stream_id, approximate=False)

    def latest_until(self, stream_id: str, count: int) -> list[tuple[str, bytes]]:
        """Up to `count` entries up to and with `stream_id`, newest first, as `read` gives them."""
        entries = cast("Any", self._redis.xrevrange(self._keys.journal, max=stream_id, count=count))
        return [(found_id.decode(), _body(fields)) for found_id, fields in entries]

    def written(self) -> tuple[int, int]:
        """(epoch, seq) of the last event the state machine wrote; epoch 0 when Redis holds no state."""
        epoch, seq = cast("list[bytes | None]", self._redis.hmget(self._keys.meta, ["epoch", "seq"]))
        return standing(epoch, seq)

    def fenced(self) -> bool:
        """True while a recovery is at work (engine/fenced.py)."""
        return bool(self._redis.hexists(self._keys.meta, "fence"))

    def awaited(self) -> bool:
        """True while somebody waits for the ledger (engine/awaited.py)."""
        return bool(self._redis.exists(self._keys.awaited))

    def oldest_after(self, stream_id: str) -> int | None:
        """When the first entry after `stream_id` was written, Unix ms of the server; None when there is none."""
        entries = cast("Any", self._redis.xrange(self._keys.journal, min=f"({stream_id}", count=1))
        return int(entries[0][0].split(b"-")[0]) if entries else None

    def server_now_ms(self) -> int:
        """The server's clock, Unix ms."""
        seconds, micros = self._redis.time()
        return seconds * 1000 + micros // 1000

    def extent(self) -> JournalExtent:
        """Length, memory (estimated by Redis from a few samples), age of the oldest entry, and the clock."""
        first = cast("Any", self._redis.xrange(self._keys.journal, count=1))
        return JournalExtent(
            length=self._redis.xlen(self._keys.journal),
            memory_bytes=self._redis.memory_usage(self._keys.journal) or 0,
            first_id=first[0][0].decode() if first else "",
            server_now_ms=self.server_now_ms(),
        )


def entries_of(answer: Any) -> list[tuple[str, bytes]]:
    """What XREAD of one stream answered, over either protocol, as `JournalReader.read` gives it."""
    if not answer:
        return []
    streams = answer.values() if isinstance(answer, dict) else [pair[1] for pair in answer]
    (batches,) = streams
    entries = batches[0] if batches and isinstance(batches[0], list) else batches
    return [(stream_id.decode(), _body(fields)) for stream_id, fields in entries]


def _body(fields: dict[bytes, bytes] | None) -> bytes:
    if fields is None:
        return b""
    body = fields.get(b"b")
    return msgspec.msgpack.encode(fields) if body is None or len(fields) > 1 else body


def stream_position(stream_id: str) -> tuple[int, int]:
    """A stream id as numbers, so that two can be compared."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number or 0)
