"""Which server holds a partition's state, in which epoch, and whether it may be served."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, Table, Text, text

from persistence.tables.columns import metadata, now_column

PARTITION_CHANNEL = "holdfast_partition"
"""NOTIFY channel: payload is the number of a partition whose row changed."""

partition_state = Table(
    "partition_state",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rebuilds", BigInteger, nullable=False, server_default=text("0")),
    Column("rebuild_ms", BigInteger, nullable=False, server_default=text("0")),
    now_column("changed_at"),
    CheckConstraint("state IN ('OPEN', 'REBUILDING', 'REFUSED')", name="state"),
    CheckConstraint("epoch >= 1", name="epoch"),
    postgresql_with={"fillfactor": 10},
)
"""One row a partition, missing until it is first opened. `epoch` and `run_id`: what was admitted last."""
