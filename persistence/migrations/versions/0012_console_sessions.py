"""Who is signed in to the console.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row a signed-in browser, found by the hash of what its cookie holds."""
    op.execute(
        """
        CREATE TABLE console_sessions (
            token_hash bytea NOT NULL,
            key_id text COLLATE "C" NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            seen_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL,
            CONSTRAINT console_sessions_pkey PRIMARY KEY (token_hash),
            CONSTRAINT console_sessions_token_hash_check CHECK (octet_length(token_hash) = 32)
        )
        """
    )
    op.execute("CREATE INDEX console_sessions_expires_at_idx ON console_sessions (expires_at)")


def downgrade() -> None:
    """Everybody signs in again."""
    op.execute("DROP TABLE console_sessions")
