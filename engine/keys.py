"""The names of every Redis key Holdfast writes, one builder each, with the key's type beside it.

All keys of a partition carry one hash tag, so that Cluster keeps them on one node and a script may touch them
together. Nothing else in the code spells a key.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

PARTITIONS: Final = 1
"""The only partition count supported so far; ids, keys and scripts are already shaped for more."""


class PartitionKeys(Struct, frozen=True):
    """The keys of one partition."""

    partition: int
    stock: str
    """hash: SKU -> "on_hand reserved safety_stock low_stock_threshold active"."""
    deadlines: str
    """sorted set: "<reservation id> <lines>" -> deadline in ms. Carries the lines so that a hold can be given
    back even when its record has aged out."""
    journal: str
    """stream: one entry a batch, field `b`; see engine/journal.py."""
    meta: str
    """hash: epoch, seq, last_now_ms, schema, partitions."""
    pulse: str
    """hash with TTL: a process -> what it counts and how it is, renewed each second; see engine/pulse_board.py."""
    awaited: str
    """string with TTL: somebody waits for the ledger, so that the flusher does not rest; see engine/awaited.py."""
    record_prefix: str
    """string with TTL: prefix + 24 hex of an id -> the record of a reservation or of an adjustment."""

    def record(self, base: str) -> str:
        """The key of one reservation's (or keyed adjustment's) record; `base` is the id's first 24 hex digits."""
        return self.record_prefix + base


def partition_keys(partition: int) -> PartitionKeys:
    """Key names of partition `partition` (0 to 65535)."""
    tag = f"{{h{partition:02d}}}:"
    return PartitionKeys(
        partition=partition,
        stock=tag + "stock",
        deadlines=tag + "deadlines",
        journal=tag + "journal",
        meta=tag + "meta",
        pulse=tag + "pulse",
        awaited=tag + "awaited",
        record_prefix=tag + "r:",
    )


def partition_of(home: int, partitions: int) -> int:
    """The partition that owns a 16-bit home hash when there are `partitions` of them."""
    return home * partitions >> 16
