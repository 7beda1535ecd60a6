"""Webhooks and what was, will be or could not be delivered to them."""

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
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from persistence.tables.columns import metadata, name_text, now_column, time_column

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", name_text(), primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("secret", Text, nullable=False),
    Column("previous_secret", Text),
    time_column("previous_secret_until", nullable=True),
    Column("created_by", Text, nullable=False),
    now_column("created_at"),
    time_column("disabled_at", nullable=True),
    Column("from_epoch", Integer, nullable=False),
    Column("from_seq", BigInteger, nullable=False),
    time_column("failing_since", nullable=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    time_column("resume_at", nullable=True),
    time_column("last_delivered_at", nullable=True),
    Column("lease", Text),
    time_column("leased_until", nullable=True),
    CheckConstraint("status IN ('active', 'disabled', 'deleted')", name="status"),
    CheckConstraint("cardinality(events) > 0 AND failures >= 0", name="bounds"),
    CheckConstraint("secret <> '' OR status = 'deleted'", name="secret"),
    # Renewed by every chunk of deliveries; no index sees that.
    postgresql_with={"fillfactor": 50},
)
"""Who is told what. `failures`: attempts since the last one that succeeded; before `resume_at` nothing is sent;
`lease`: the job that is sending, believed until `leased_until`. It gets events after (`from_epoch`, `from_seq`)."""


webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column(
        "webhook_id", name_text(), ForeignKey("webhooks.id", name="webhook_deliveries_webhook_fkey"), nullable=False
    ),
    Column("event_id", name_text(), nullable=False),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("status", name_text(), nullable=False, server_default=text("'PENDING'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    time_column("next_attempt_at", nullable=True),
    now_column("created_at"),
    time_column("last_attempt_at", nullable=True),
    time_column("delivered_at", nullable=True),
    Column("last_status", Integer),
    Column("last_error", Text),
    UniqueConstraint("webhook_id", "event_id"),
    CheckConstraint("status IN ('PENDING', 'DELIVERED', 'FAILED', 'DISCARDED')", name="status"),
    CheckConstraint("(status = 'PENDING') = (next_attempt_at IS NOT NULL)", name="pending"),
    Index("webhook_deliveries_log_idx", "webhook_id", "id"),
    Index("webhook_deliveries_status_idx", "webhook_id", "status", "id"),
    Index(
        "webhook_deliveries_due_idx",
        "webhook_id",
        "next_attempt_at",
        "id",
        postgresql_where=text("status = 'PENDING'"),
    ),
)
"""One row an event and webhook: what to send as it is sent, and how that went. Old rows are deleted in order of id."""
