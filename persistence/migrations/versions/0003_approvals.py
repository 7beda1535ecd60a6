"""Tables of approvals.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _name(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text(collation="C"), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Create `approvals`."""
    op.create_table(
        "approvals",
        _name("id"),
        _name("base"),
        _name("fingerprint"),
        _name("kind"),
        sa.Column("lines", JSONB, nullable=False),
        _name("reference"),
        sa.Column("difference", sa.BigInteger),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        _name("requested_by"),
        sa.Column("requested_by_name", sa.Text, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        _time("expires_at"),
        sa.Column("status", sa.Text(collation="C"), nullable=False, server_default=sa.text("'PENDING'")),
        _name("decided_by", nullable=True),
        sa.Column("decided_by_name", sa.Text),
        _time("decided_at", nullable=True),
        sa.Column("decision_reason", sa.Text),
        sa.Column("applied_epoch", sa.Integer),
        sa.Column("applied_seq", sa.BigInteger),
        _name("intent_by", nullable=True),
        sa.Column("intent_reason", sa.Text),
        _time("intent_at", nullable=True),
        sa.Column("intent_epoch", sa.Integer),
        sa.Column("intent_seq", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="approvals_pkey"),
        sa.UniqueConstraint("base", name="approvals_base_key"),
        sa.CheckConstraint("status IN ('PENDING', 'APPROVED', 'REJECTED', 'EXPIRED')", name="status"),
        sa.CheckConstraint(
            "kind IN ('receive', 'remove', 'count', 'damage', 'return')",
            name="kind",
        ),
        sa.CheckConstraint("(status = 'PENDING') = (decided_at IS NULL)", name="decided"),
        sa.CheckConstraint("(status = 'APPROVED') = (applied_seq IS NOT NULL)", name="applied"),
        sa.CheckConstraint("requested_by <> decided_by", name="two_persons"),
    )
    op.create_index("approvals_requested_at_idx", "approvals", ["requested_at", "id"])
    op.create_index("approvals_status_idx", "approvals", ["status", "requested_at", "id"])
    op.create_index(
        "approvals_pending_idx", "approvals", ["expires_at"], postgresql_where=sa.text("status = 'PENDING'")
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("approvals")
