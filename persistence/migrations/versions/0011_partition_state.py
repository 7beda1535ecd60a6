"""Which server holds a partition's state, and whether it may be served.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row a partition, written by recovery."""
    op.execute(
        """
        CREATE TABLE partition_state (
            partition integer NOT NULL,
            epoch integer NOT NULL,
            run_id text NOT NULL,
            state text NOT NULL,
            reason text NOT NULL,
            rebuilds bigint NOT NULL DEFAULT 0,
            rebuild_ms bigint NOT NULL DEFAULT 0,
            changed_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT partition_state_pkey PRIMARY KEY (partition),
            CONSTRAINT partition_state_state_check CHECK (state IN ('OPEN', 'REBUILDING', 'REFUSED')),
            CONSTRAINT partition_state_epoch_check CHECK (epoch >= 1)
        ) WITH (fillfactor = 10)
        """
    )


def downgrade() -> None:
    """Forget it: the next start holds Redis against the ledger anew."""
    op.execute("DROP TABLE partition_state")
