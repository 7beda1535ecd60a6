"""How Redis and the partition in it are at one moment, in numbers: what operators, readiness and the console ask for.

Owns one look at the server, in two round trips; never walks over anything and never judges what it finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from redis.exceptions import RedisError

from engine.errors import Disconnected
from engine.stored_numbers import standing, whole

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from engine.keys import PartitionKeys

_SECTIONS: Final = ("server", "clients", "memory", "persistence", "replication", "commandstats")
REPLICA_SILENT_S: Final = 10
"""As Redis itself counts for `min-replicas-to-write`: a replica is heard of each second."""
_SCRIPT_COMMANDS: Final = ("cmdstat_evalsha", "cmdstat_eval")


class Vitals(Struct, frozen=True, kw_only=True):
    """One look. Times in milliseconds unless the name says otherwise, sizes in bytes."""

    now_ms: int
    """The server's clock."""
    run_id: str
    epoch: int
    """0: there is no state."""
    seq: int
    """Of the last event."""
    journal_entries: int
    oldest_unflushed_ms: int
    """Age of the first journal entry behind the position asked with; 0: there is none."""
    live_holds: int
    """Reservations that hold stock, due ones included."""
    expiring_soon: int
    """Of these, how many end within the time asked with."""
    oldest_due_ms: int
    """How long ago the hold that should have ended first was due; 0: none is."""
    memory_used_bytes: int
    memory_limit_bytes: int
    """0: there is no limit."""
    eviction_policy: str
    aof_enabled: bool
    aof_write_ok: bool
    """False after a write to the append-only file failed."""
    role: str
    """`master` takes writes."""
    replicas: int = 0
    """Those that follow it: connected, and heard of within the last REPLICA_SILENT_S."""
    clients: int
    script_calls: int
    script_seconds: float
    """Time the server spent in scripts since its start."""


async def look(redis: Redis, keys: PartitionKeys, *, soon_ms: int, flushed_to: str) -> Vitals:
    """One look. `soon_ms`: what counts as soon; `flushed_to`: stream id of the last entry in the ledger, empty when it
    is not known. Raises Disconnected.
    """
    try:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hmget(keys.meta, ["epoch", "seq", "last_now_ms"])
            pipe.xlen(keys.journal)
            pipe.zcard(keys.deadlines)
            pipe.zrange(keys.deadlines, 0, 0, withscores=True)
            pipe.info(*_SECTIONS)
            (seconds, micros), meta, entries, holds, first, info = await pipe.execute()
        server_ms = seconds * 1000 + micros // 1000
        epoch, seq = standing(*meta[:2])
        now_ms = max(server_ms, whole(meta[2]))
        async with redis.pipeline(transaction=False) as pipe:
            pipe.zcount(keys.deadlines, "-inf", now_ms + soon_ms)
            pipe.xrange(keys.journal, f"({flushed_to}" if flushed_to else "+", "+", count=1)
            soon, unflushed = await pipe.execute()
    except (RedisError, OSError) as error:
        raise Disconnected(f"cannot read from Redis: {type(error).__name__}") from error
    return Vitals(
        now_ms=now_ms,
        run_id=_text(info.get("run_id")),
        epoch=epoch,
        seq=seq,
        journal_entries=entries,
        oldest_unflushed_ms=_age_ms(unflushed, server_ms) if flushed_to else 0,
        live_holds=holds,
        expiring_soon=soon,
        oldest_due_ms=max(0, now_ms - whole(first[0][1])) if first else 0,
        memory_used_bytes=int(info.get("used_memory", 0)),
        memory_limit_bytes=int(info.get("maxmemory", 0)),
        eviction_policy=_text(info.get("maxmemory_policy")),
        aof_enabled=bool(int(info.get("aof_enabled", 0))),
        aof_write_ok=_text(info.get("aof_last_write_status", "ok")) == "ok",
        role=_text(info.get("role")),
        replicas=sum(_follows(info.get(f"slave{number}")) for number in range(int(info.get("connected_slaves", 0)))),
        clients=int(info.get("connected_clients", 0)),
        script_calls=sum(int(_stats(info, name).get("calls", 0)) for name in _SCRIPT_COMMANDS),
        script_seconds=sum(float(_stats(info, name).get("usec", 0)) for name in _SCRIPT_COMMANDS) / 1e6,
    )


def _follows(replica: Any) -> bool:
    """Of one line that INFO tells of a replica, whether it is up to date but for a moment."""
    if not isinstance(replica, dict):
        return False
    return replica.get("state") == "online" and int(replica.get("lag", 0)) <= REPLICA_SILENT_S


def _stats(info: dict[str, Any], name: str) -> dict[str, Any]:
    found = info.get(name, {})
    return found if isinstance(found, dict) else {}


def _age_ms(entries: Any, server_ms: int) -> int:
    """Of an entry's stream id, whose first part is when it was written."""
    if not entries:
        return 0
    written, _, _ = _text(entries[0][0]).partition("-")
    return max(0, server_ms - int(written))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
