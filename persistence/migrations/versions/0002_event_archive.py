"""The journal's archive, the announcements on their way into the journal, and the cursors of its followers.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _name() -> sa.Text:
    return sa.Text(collation="C")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "journal_archive",
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        _time("at"),
        sa.Column("stream_id", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("partition", "epoch", "last_seq"),
        sa.CheckConstraint("1 <= first_seq AND first_seq <= last_seq", name="bounds"),
    )
    op.create_table(
        "announcements",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column("base", _name(), nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        _now("created_at"),
        _time("announced_at", nullable=True),
        sa.UniqueConstraint("base"),
        sa.CheckConstraint("base ~ '^[0-9a-f]{24}$'", name="base"),
    )
    op.create_index(
        "announcements_waiting_idx", "announcements", ["id"], postgresql_where=sa.text("announced_at IS NULL")
    )
    op.create_table(
        "follower_cursors",
        sa.Column("follower", _name(), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        _now("updated_at"),
        sa.PrimaryKeyConstraint("follower", "partition"),
        sa.CheckConstraint("epoch >= 1 AND seq >= 0", name="bounds"),
        postgresql_with={"fillfactor": 10},
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("follower_cursors", "announcements", "journal_archive"):
        op.drop_table(table)
