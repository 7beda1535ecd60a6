"""API keys, and the secrets that every API process shares."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, LargeBinary, Table, Text, UniqueConstraint

from persistence.tables.columns import metadata, name_text, now_column, time_column

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", name_text(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    now_column("created_at"),
    Column("created_by", Text, nullable=False),
    time_column("revoked_at", nullable=True),
    UniqueConstraint("key_hash"),
    CheckConstraint("role IN ('storefront', 'auditor', 'operator', 'manager', 'admin')", name="role"),
    CheckConstraint("octet_length(key_hash) = 32", name="key_hash"),
)


store_secrets = Table(
    "store_secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Random values every API process must share; `cursor_key` signs page cursors."""
