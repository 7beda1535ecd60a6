"""Alerts of low and sold-out stock, and the daily digests."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Identity, Index, Integer, Table, Text, text

from persistence.tables.columns import metadata, name_text, now_column, time_column

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("sku", name_text(), nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("episode", Text, nullable=False),
    Column("available", BigInteger, nullable=False),
    Column("threshold", BigInteger, nullable=False),
    Column("sell_out_seconds", BigInteger),
    time_column("raised_at"),
    time_column("changed_at"),
    time_column("notified_at", nullable=True),
    time_column("resolved_at", nullable=True),
    Column("resolved_by", Text),
    time_column("fades_at", nullable=True),
    time_column("mail_claimed_at", nullable=True),
    time_column("mailed_at", nullable=True),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    CheckConstraint("kind IN ('LOW_STOCK', 'OUT_OF_STOCK')", name="kind"),
    CheckConstraint("status IN ('PENDING', 'NOTIFIED', 'RESOLVED')", name="status"),
    CheckConstraint("episode IN ('open', 'muted', 'fading', 'over')", name="episode"),
    CheckConstraint("(status = 'RESOLVED') = (episode <> 'open')", name="open"),
    CheckConstraint("(status = 'RESOLVED') = (resolved_at IS NOT NULL)", name="resolved"),
    CheckConstraint("(resolved_at IS NULL) = (resolved_by IS NULL)", name="resolved_by"),
    # One alert a SKU is the current one; with it no two can be open, whoever writes.
    Index("alerts_current_key", "sku", unique=True, postgresql_where=text("episode <> 'over'")),
    Index("alerts_status_idx", "status", "id"),
    Index("alerts_sku_idx", "sku", "id"),
)
"""`episode`: open; muted (resolved by a person while it still applies); fading (resolved, and the same one again if
it comes back before `fades_at`); over. `epoch`, `seq`: the last event it has heard of."""


stock_digests = Table(
    "stock_digests",
    metadata,
    Column("day", Date, primary_key=True),
    now_column("made_at"),
    Column("summary", Text, nullable=False),
    Column("body", Text, nullable=False),
    time_column("mail_claimed_at", nullable=True),
    time_column("mailed_at", nullable=True),
)
"""One digest a day of the shop's time zone."""
