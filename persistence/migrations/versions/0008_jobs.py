"""What the background jobs have done.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of runs."""
    op.create_table(
        "job_runs",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False)),
        sa.Column("job", sa.Text(collation="C"), nullable=False),
        sa.Column("run_id", sa.Text(collation="C"), nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("told", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("status IN ('running', 'ok', 'failed', 'killed')", name="status"),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("job_runs_job_idx", "job_runs", ["job", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("job_runs")
