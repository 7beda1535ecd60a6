"""Opening a partition: making its `meta` on first use, and refusing a state that must not be served.

Whoever wires a process asks this once, with what Postgres says: a Redis that is empty or behind the ledger has
forgotten acknowledged changes, and answering from it would sell stock twice.
"""

from __future__ import annotations

from redis import Redis

from engine.errors import NotReady
from engine.events import SCHEMA
from engine.keys import PARTITIONS, partition_keys
from engine.scripts import OPEN, compose


def open_partition(redis: Redis, epoch: int, ledger_seq: int, partition: int = 0) -> None:
    """Make sure Redis holds the state that the ledger knows: `epoch`, and no sequence number before `ledger_seq`.

    A fresh store (ledger_seq 0, Redis empty) gets its `meta`. Raises NotReady, saying what differs, otherwise.
    """
    keys = partition_keys(partition)
    names = [keys.stock, keys.deadlines, keys.journal, keys.meta]
    if ledger_seq > 0 and not redis.exists(keys.meta):
        raise NotReady(
            f"Redis is empty, but the ledger holds {ledger_seq} events of this partition: it must be rebuilt"
        )
    found = redis.eval(compose(entry=OPEN).source, len(names), *names, str(epoch), str(SCHEMA), str(PARTITIONS))
    values = [None if value is None else int(value) for value in found]
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
