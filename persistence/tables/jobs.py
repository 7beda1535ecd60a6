"""What the background jobs have done."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, PrimaryKeyConstraint, Table, Text, text

from persistence.tables.columns import metadata, name_text, time_column

job_runs = Table(
    "job_runs",
    metadata,
    Column("id", BigInteger, Identity(always=False)),
    Column("job", name_text(), nullable=False),
    Column("run_id", name_text(), nullable=False),
    Column("arguments", Text, nullable=False),
    time_column("started_at"),
    time_column("deadline_at"),
    time_column("ended_at", nullable=True),
    Column("status", Text, nullable=False),
    Column("told", Text, nullable=False, server_default=text("''")),
    PrimaryKeyConstraint("id"),
    CheckConstraint("status IN ('running', 'ok', 'failed', 'killed')", name="status"),
    Index("job_runs_job_idx", "job", "id"),
    # The end of a run is its one update; no index sees it.
    postgresql_with={"fillfactor": 70},
)
"""One row a run: `told` is its one-line result, or why it failed. A run still `running` behind its deadline is lost."""
