"""Order events that could not be applied."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from persistence.tables.columns import metadata, name_text, now_column

order_dead_letters = Table(
    "order_dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("stream", name_text(), nullable=False),
    Column("stream_id", name_text(), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("order_id", name_text()),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    Column("status", name_text(), nullable=False, server_default=text("'PENDING'")),
    now_column("created_at"),
    now_column("updated_at"),
    Column("resolved_by", name_text()),
    UniqueConstraint("stream", "stream_id"),
    CheckConstraint("status IN ('PENDING', 'RESOLVED')", name="status"),
    CheckConstraint("attempts >= 1", name="attempts"),
    Index("order_dead_letters_status_idx", "status", "id"),
)
"""One row an entry of the stream that was set aside; the entry itself is acknowledged."""
