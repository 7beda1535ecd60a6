"""Order events that could not be applied.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _name() -> sa.Text:
    return sa.Text(collation="C")


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "order_dead_letters",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column("stream", _name(), nullable=False),
        sa.Column("stream_id", _name(), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("order_id", _name()),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("status", _name(), nullable=False, server_default=sa.text("'PENDING'")),
        _now("created_at"),
        _now("updated_at"),
        sa.Column("resolved_by", _name()),
        sa.UniqueConstraint("stream", "stream_id"),
        sa.CheckConstraint("status IN ('PENDING', 'RESOLVED')", name="status"),
        sa.CheckConstraint("attempts >= 1", name="attempts"),
    )
    op.create_index("order_dead_letters_status_idx", "order_dead_letters", ["status", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("order_dead_letters")
