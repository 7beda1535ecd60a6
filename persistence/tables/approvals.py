"""Stock changes that wait for, or had, a second person's decision."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB

from persistence.tables.columns import metadata, name_text, now_column, time_column

approvals = Table(
    "approvals",
    metadata,
    Column("id", name_text(), primary_key=True),
    Column("base", name_text(), nullable=False),
    Column("fingerprint", name_text(), nullable=False),
    Column("kind", name_text(), nullable=False),
    Column("lines", JSONB, nullable=False),
    Column("reference", name_text(), nullable=False),
    Column("difference", BigInteger),
    Column("units", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_by", name_text(), nullable=False),
    Column("requested_by_name", Text, nullable=False),
    now_column("requested_at"),
    time_column("expires_at"),
    Column("status", name_text(), nullable=False, server_default=text("'PENDING'")),
    Column("decided_by", name_text()),
    Column("decided_by_name", Text),
    time_column("decided_at", nullable=True),
    Column("decision_reason", Text),
    Column("applied_epoch", Integer),
    Column("applied_seq", BigInteger),
    # Set before an approved change is made, cleared when it proved impossible: while it stands, nobody can tell from
    # this row alone whether the stock has moved.
    Column("intent_by", name_text()),
    Column("intent_reason", Text),
    time_column("intent_at", nullable=True),
    Column("intent_epoch", Integer),
    Column("intent_seq", BigInteger),
    UniqueConstraint("base"),
    CheckConstraint("status IN ('PENDING', 'APPROVED', 'REJECTED', 'EXPIRED')", name="status"),
    CheckConstraint("kind IN ('receive', 'remove', 'count', 'damage', 'return')", name="kind"),
    CheckConstraint("(status = 'PENDING') = (decided_at IS NULL)", name="decided"),
    CheckConstraint("(status = 'APPROVED') = (applied_seq IS NOT NULL)", name="applied"),
    CheckConstraint("requested_by <> decided_by", name="two_persons"),
    Index("approvals_requested_at_idx", "requested_at", "id"),
    Index("approvals_status_idx", "status", "requested_at", "id"),
    Index("approvals_pending_idx", "expires_at", postgresql_where=text("status = 'PENDING'")),
)
