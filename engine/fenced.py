"""A partition's state as a recovery sees it and works on it: what is there, fence, wipe, restore, reopen.

Owns the Redis commands; never reads Postgres and never decides what is to be done (worker/recovery.py). Everything
goes over one connection: a server that restarts in between shows as an error, and is never mistaken for the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Struct
from redis import Redis

from engine.errors import HoldfastError
from engine.events import SCHEMA
from engine.keys import PARTITIONS, partition_keys
from engine.scripts import compose

FENCE: Final = "fence"
WIPE: Final = "wipe"
RESTORE: Final = "restore"
REOPEN: Final = "reopen"

WIPED_AT_ONCE: Final = 1_000

_pack = msgspec.msgpack.encode


class FenceLost(HoldfastError):
    """Another recovery has taken over, or the state was emptied meanwhile: begin anew."""


class StateFacts(Struct, frozen=True):
    """What a server holds of a partition."""

    run_id: str
    """Changes with every start of the server."""
    epoch: int | None
    """None: there is no `meta`, or something was wiped behind a fence. A fenced state keeps the epoch it had."""
    fenced: bool
    seq: int
    last_now_ms: int
    schema: int | None
    partitions: int | None
    has_stock: bool
    empty: bool
    """No key of the partition but records, which do not matter without the others."""
    now_ms: int
    """The server's clock."""


class Restored(Struct, frozen=True):
    """A record to be written back."""

    base: str
    raw: bytes
    ttl_ms: int


class FencedPartition:
    """Use `facts`, then `fence`, and with that fence the rest. Methods raise redis.exceptions.RedisError."""

    def __init__(self, redis_client: Redis, partition: int = 0) -> None:
        self._redis = redis_client
        self._keys = partition_keys(partition)
        self._token = ""
        self._scripts = {name: compose(entry=name).source for name in (FENCE, WIPE, RESTORE, REOPEN)}
        self._shas: dict[str, str] = {}

    def facts(self) -> StateFacts:
        """What is there."""
        keys = self._keys
        run_id = run_id_of(self._redis)
        pipe = self._redis.pipeline(transaction=True)
        pipe.hmget(keys.meta, ["epoch", "was", "fence", "seq", "last_now_ms", "schema", "partitions"])
        pipe.exists(keys.stock)
        pipe.exists(keys.deadlines, keys.journal, keys.meta)
        pipe.time()
        values, stock, others, (seconds, micros) = pipe.execute()
        epoch, was, fence, seq, last_now_ms, schema, partitions = values
        fenced = fence is not None
        known = was if fenced else epoch
        if _number(seq) is None or _number(last_now_ms) is None:
            # No command runs on such a state: it is as good as lost, even where the ledger has nothing of it yet.
            known = None
        return StateFacts(
            run_id=run_id,
            epoch=_number(known),
            fenced=fenced,
            seq=_number(seq) or 0,
            last_now_ms=_number(last_now_ms) or 0,
            schema=_number(schema),
            partitions=_number(partitions),
            has_stock=bool(stock),
            empty=not stock and not others,
            now_ms=int(seconds) * 1000 + int(micros) // 1000,
        )

    def fence(self, token: str) -> None:
        """Refuse every command from now on, in the name of `token` (any text, never used before)."""
        self._token = token
        for name, source in self._scripts.items():
            self._shas[name] = self._redis.script_load(source)
        self._redis.evalsha(self._shas[FENCE], 1, self._keys.meta, token)

    def wipe(self, *, journal: bool, between: Callable[[], None]) -> None:
        """Remove stock, deadlines, every record and, if asked, the journal. `between`: called behind each of the many
        steps that a large store takes. Raises FenceLost.
        """
        keys = self._keys
        self._wiped([keys.stock, keys.deadlines, *([keys.journal] if journal else [])])
        for names in self._record_keys():
            self._wiped(names)
            between()

    def restore(
        self, levels: Sequence[str] = (), deadlines: Sequence[str] = (), records: Sequence[Restored] = ()
    ) -> None:
        """Put a chunk back. `levels`: SKU, counters, ...; `deadlines`: ms, member, ... Raises FenceLost."""
        keys = self._keys
        names = [keys.stock, keys.deadlines, keys.meta, *(keys.record(record.base) for record in records)]
        values: list[Any] = []
        for record in records:
            values += (record.raw, str(max(1, record.ttl_ms)))
        self._held(
            self._redis.evalsha(
                self._shas[RESTORE],
                len(names),
                *names,
                self._token,
                _pack(levels),
                _pack(deadlines),
                cast("str", _old_pack(values)),
            )
        )

    def reopen(self, epoch: int, seq: int, last_now_ms: int) -> None:
        """Let commands of `epoch` in. Raises FenceLost."""
        numbers = (epoch, seq, last_now_ms, SCHEMA, PARTITIONS)
        self._held(
            self._redis.evalsha(self._shas[REOPEN], 1, self._keys.meta, self._token, *(str(one) for one in numbers))
        )

    def entry_at(self, stream_id: str) -> bytes | None:
        """Field `b` of the journal's entry with this very id; None when there is none."""
        found: Any = self._redis.xrange(self._keys.journal, min=stream_id, max=stream_id, count=1)
        return bytes(found[0][1].get(b"b", b"")) if found else None

    def counters(self) -> Iterator[tuple[str, str]]:
        """Every SKU with its counters, as text."""
        for sku, value in self._redis.hscan_iter(self._keys.stock, count=2_000):
            yield sku.decode(errors="replace"), value.decode(errors="replace")

    def _record_keys(self) -> Iterator[list[Any]]:
        pattern = "".join("\\" + letter if letter in "*?[]\\^" else letter for letter in self._keys.record_prefix) + "*"
        names: list[Any] = []
        for name in self._redis.scan_iter(match=pattern, count=WIPED_AT_ONCE):
            names.append(name)
            if len(names) == WIPED_AT_ONCE:
                yield names
                names = []
        if names:
            yield names

    def _wiped(self, names: list[Any]) -> None:
        self._held(self._redis.evalsha(self._shas[WIPE], 1 + len(names), self._keys.meta, *names, self._token))

    @staticmethod
    def _held(answer: Any) -> None:
        if answer != 1:
            raise FenceLost("the fence is no longer ours")


def run_id_of(redis_client: Redis) -> str:
    """The run id that the server gave itself when it started."""
    return str(redis_client.info("server")["run_id"])


def _number(text: bytes | None) -> int | None:
    """What `meta` says; what is no number there is as good as lost."""
    return int(text) if text is not None and text.isdigit() else None


def _old_pack(values: list[Any]) -> bytes:
    """msgpack in the form that Lua's library reads: bytes as raw text, which msgspec would tag as binary."""
    out = [b"\xdd" + len(values).to_bytes(4)]
    for value in values:
        raw = value if isinstance(value, bytes) else value.encode()
        out += (b"\xdb" + len(raw).to_bytes(4), raw)
    return b"".join(out)
