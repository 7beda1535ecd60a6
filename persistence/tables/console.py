"""Browsers that are signed in to the console."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, Table

from persistence.tables.columns import metadata, name_text, now_column, time_column

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("key_id", name_text(), nullable=False),
    now_column("created_at"),
    now_column("seen_at"),
    time_column("expires_at"),
    CheckConstraint("octet_length(token_hash) = 32", name="token_hash"),
    Index("console_sessions_expires_at_idx", "expires_at"),
)
"""The cookie's token itself is kept nowhere: whoever reads this table can't sign in with it."""
