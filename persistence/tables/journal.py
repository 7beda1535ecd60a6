"""How far the ledger has followed the journal, what could not be applied, and what the flushers say."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from persistence.tables.columns import metadata, now_column, time_column

journal_cursors = Table(
    "journal_cursors",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("partitions", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("stream_id", Text, nullable=False),
    now_column("updated_at"),
    CheckConstraint("partition >= 0 AND partition < partitions", name="partition"),
    CheckConstraint("epoch >= 1 AND seq >= 0", name="bounds"),
    postgresql_with={"fillfactor": 10},
)


journal_quarantine = Table(
    "journal_quarantine",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("applied", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
    now_column("created_at"),
    CheckConstraint("applied IN ('nothing', 'stock', 'cleaned', 'empty')", name="applied"),
    Index("journal_quarantine_seq_idx", "partition", "epoch", "seq"),
)
"""Journal entries and events that could not be applied as they are; flush_plan.py tells what follows."""


flusher_status = Table(
    "flusher_status",
    metadata,
    Column("partition", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lag_events", BigInteger, nullable=False),
    Column("lag_ms", BigInteger, nullable=False),
    time_column("heartbeat_at"),
    PrimaryKeyConstraint("partition", "worker"),
    CheckConstraint("state IN ('running', 'halted', 'stopped')", name="state"),
    postgresql_with={"fillfactor": 10},
)
"""One row a flusher, renewed every second: what readiness asks."""
