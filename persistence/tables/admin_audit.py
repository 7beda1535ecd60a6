"""Who used which key for what: a row for each administrative request that could change something."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Identity, Index, Integer, Table, Text

from persistence.tables.columns import metadata, name_text, now_column

admin_audit = Table(
    "admin_audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    now_column("at"),
    Column("key_id", name_text(), nullable=False),
    Column("key_name", Text, nullable=False),
    Column("role", name_text(), nullable=False),
    Column("action", name_text(), nullable=False),
    Column("method", name_text(), nullable=False),
    Column("route", name_text(), nullable=False),
    Column("target", Text),
    Column("request_id", Text, nullable=False),
    Column("idempotency_key", Boolean, nullable=False),
    # Empty until the answer is known; empty for ever when the process died before it was.
    Column("status", Integer),
    Column("code", name_text()),
    Column("duration_ms", Integer),
    Index("admin_audit_at_idx", "at", "id"),
    Index("admin_audit_key_idx", "key_id", "at", "id"),
    Index("admin_audit_action_idx", "action", "at", "id"),
)
