"""Tables of alerts.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Alerts, one of which a SKU is current; one digest a day; an index for the lists of what is low and out."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("episode", sa.Text, nullable=False),
        sa.Column("available", sa.BigInteger, nullable=False),
        sa.Column("threshold", sa.BigInteger, nullable=False),
        sa.Column("sell_out_seconds", sa.BigInteger),
        _time("raised_at"),
        _time("changed_at"),
        _time("notified_at", nullable=True),
        _time("resolved_at", nullable=True),
        sa.Column("resolved_by", sa.Text),
        _time("fades_at", nullable=True),
        _time("mail_claimed_at", nullable=True),
        _time("mailed_at", nullable=True),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.CheckConstraint("kind IN ('LOW_STOCK', 'OUT_OF_STOCK')", name="kind"),
        sa.CheckConstraint("status IN ('PENDING', 'NOTIFIED', 'RESOLVED')", name="status"),
        sa.CheckConstraint("episode IN ('open', 'muted', 'fading', 'over')", name="episode"),
        sa.CheckConstraint("(status = 'RESOLVED') = (episode <> 'open')", name="open"),
        sa.CheckConstraint("(status = 'RESOLVED') = (resolved_at IS NOT NULL)", name="resolved"),
        sa.CheckConstraint("(resolved_at IS NULL) = (resolved_by IS NULL)", name="resolved_by"),
    )
    op.create_index("alerts_current_key", "alerts", ["sku"], unique=True, postgresql_where=sa.text("episode <> 'over'"))
    op.create_index("alerts_status_idx", "alerts", ["status", "id"])
    op.create_index("alerts_sku_idx", "alerts", ["sku", "id"])
    op.create_index("products_reach_idx", "products", [sa.text("(low_stock_threshold + safety_stock)")])
    op.create_table(
        "stock_digests",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        _time("mail_claimed_at", nullable=True),
        _time("mailed_at", nullable=True),
    )


def downgrade() -> None:
    """Drop all of it."""
    op.drop_index("products_reach_idx", "products")
    op.drop_table("stock_digests")
    op.drop_table("alerts")
