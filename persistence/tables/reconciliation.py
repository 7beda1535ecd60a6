"""What reconciliation found last, and the repairs of drift that somebody asked for."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from persistence.tables.columns import metadata, name_text, now_column, time_column

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    time_column("at"),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("checked_skus", BigInteger, nullable=False),
    Column("checked_holds", BigInteger, nullable=False),
    Column("found", BigInteger, nullable=False),
    Column("took_ms", BigInteger, nullable=False),
    postgresql_with={"fillfactor": 50},
)
"""The outcome of the latest scheduled run of a partition: what the metrics show."""


drift_repairs = Table(
    "drift_repairs",
    metadata,
    Column("id", name_text(), primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("lines", JSONB, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    now_column("created_at"),
    Column("seq", BigInteger),
    Column("refused", Text),
    CheckConstraint("jsonb_array_length(lines) > 0", name="lines"),
)
"""A repair command that was decided: `lines` as it takes them, `seq` of its event once it is done, `refused` when the
state machine did not take it. One with neither is sent again under the same id, which changes nothing twice."""


level_corrections = Table(
    "level_corrections",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("repair_id", name_text(), ForeignKey("drift_repairs.id"), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("sku", name_text(), nullable=False),
    Column("difference", BigInteger, nullable=False),
    Column("after_seq", BigInteger, nullable=False),
    Column("applied_seq", BigInteger),
    Column("void", Text),
    CheckConstraint("difference <> 0", name="difference"),
    CheckConstraint("applied_seq IS NULL OR void IS NULL", name="outcome"),
    # Open ones only: a handful, whatever was repaired over the years.
    Index(
        "level_corrections_open_idx",
        "partition",
        "sku",
        postgresql_where=text("applied_seq IS NULL AND void IS NULL"),
    ),
    Index("level_corrections_repair_idx", "repair_id"),
)
"""A break of a SKU's on_hand in the journal that the flusher may take over as an ADJUSTMENT row: exactly this
difference, once, at an event after `after_seq`."""
