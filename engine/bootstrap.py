"""Opening a partition: making its `meta` on first use, and refusing a state that must not be served.

Whoever wires a process asks this once, with what Postgres says: a Redis that is empty or behind the ledger has
forgotten acknowledged changes, and answering from it would sell stock twice.
"""

from __future__ import annotations

from redis import Redis

from engine.errors import NotReady
from engine.events import SCHEMA
from engine.keys import PARTITIONS, partition_keys

# Makes `meta` only if nothing is there, in one step, so that two processes starting together agree.
_CREATE = """
if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[4]) == 0 then
  redis.call('HSET', KEYS[4], 'epoch', ARGV[1], 'seq', '0', 'last_now_ms', '0', 'schema', ARGV[2], 'partitions', ARGV[3])
end
return redis.call('HMGET', KEYS[4], 'epoch', 'seq', 'schema', 'partitions')
"""


def open_partition(redis: Redis, epoch: int, ledger_seq: int, partition: int = 0) -> None:
    """Make sure Redis holds the state that the ledger knows: `epoch`, and no sequence number before `ledger_seq`.

    A fresh store (ledger_seq 0, Redis empty) gets its `meta`. Raises NotReady, saying what differs, otherwise.
    """
    keys = partition_keys(partition)
    names = [keys.stock, keys.deadlines, keys.journal, keys.meta]
    if ledger_seq > 0 and not redis.exists(keys.meta):
        raise NotReady(
            f"Redis is empty, but the ledger holds {ledger_seq} events of this partition: it must be rebuilt, not reused"
        )
    found = redis.eval(_CREATE, len(names), *names, str(epoch), str(SCHEMA), str(PARTITIONS))
    values = [None if value is None else int(value) for value in found]  # type: ignore[union-attr]
    found_epoch, seq, schema, partitions = values
    if found_epoch is None or seq is None:
        raise NotReady("Redis holds keys of this partition but no `meta`: part of its state is lost")
    if schema != SCHEMA:
        raise NotReady(f"Redis holds schema {schema}, this version reads {SCHEMA}")
    if partitions != PARTITIONS:
        raise NotReady(f"Redis was made with {partitions} partitions, this version is set to {PARTITIONS}")
    if found_epoch != epoch:
        raise NotReady(f"Redis is in epoch {found_epoch}, the ledger in epoch {epoch}")
    if seq < ledger_seq:
        raise NotReady(f"Redis stands at event {seq}, the ledger at {ledger_seq}: Redis has forgotten changes")
