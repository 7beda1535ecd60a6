"""Webhooks and their deliveries.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _name() -> sa.Text:
    return sa.Text(collation="C")


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True))


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "webhooks",
        sa.Column("id", _name(), primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", ARRAY(sa.Text), nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'active'")),
        sa.Column("reason", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("previous_secret", sa.Text),
        _time("previous_secret_until"),
        sa.Column("created_by", sa.Text, nullable=False),
        _now("created_at"),
        _time("disabled_at"),
        sa.Column("from_epoch", sa.Integer, nullable=False),
        sa.Column("from_seq", sa.BigInteger, nullable=False),
        _time("failing_since"),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        _time("resume_at"),
        _time("last_delivered_at"),
        sa.Column("lease", sa.Text),
        _time("leased_until"),
        sa.CheckConstraint("status IN ('active', 'disabled', 'deleted')", name="status"),
        sa.CheckConstraint("cardinality(events) > 0 AND failures >= 0", name="bounds"),
        sa.CheckConstraint("secret <> '' OR status = 'deleted'", name="secret"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column(
            "webhook_id", _name(), sa.ForeignKey("webhooks.id", name="webhook_deliveries_webhook_fkey"), nullable=False
        ),
        sa.Column("event_id", _name(), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("status", _name(), nullable=False, server_default=sa.text("'PENDING'")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        _time("next_attempt_at"),
        _now("created_at"),
        _time("last_attempt_at"),
        _time("delivered_at"),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text),
        sa.UniqueConstraint("webhook_id", "event_id"),
        sa.CheckConstraint("status IN ('PENDING', 'DELIVERED', 'FAILED', 'DISCARDED')", name="status"),
        sa.CheckConstraint("(status = 'PENDING') = (next_attempt_at IS NOT NULL)", name="pending"),
    )
    op.create_index("webhook_deliveries_log_idx", "webhook_deliveries", ["webhook_id", "id"])
    op.create_index("webhook_deliveries_status_idx", "webhook_deliveries", ["webhook_id", "status", "id"])
    op.create_index(
        "webhook_deliveries_due_idx",
        "webhook_deliveries",
        ["webhook_id", "next_attempt_at", "id"],
        postgresql_where=sa.text("status = 'PENDING'"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
