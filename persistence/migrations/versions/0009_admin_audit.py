"""Tables of admin_audit.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _name(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text(collation="C"), nullable=nullable)


def upgrade() -> None:
    """Create `admin_audit`."""
    op.create_table(
        "admin_audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True)),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        _name("key_id"),
        sa.Column("key_name", sa.Text, nullable=False),
        _name("role"),
        _name("action"),
        _name("method"),
        _name("route"),
        sa.Column("target", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer),
        _name("code", nullable=True),
        sa.Column("duration_ms", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="admin_audit_pkey"),
    )
    op.create_index("admin_audit_at_idx", "admin_audit", ["at", "id"])
    op.create_index("admin_audit_key_idx", "admin_audit", ["key_id", "at", "id"])
    op.create_index("admin_audit_action_idx", "admin_audit", ["action", "at", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("admin_audit")
