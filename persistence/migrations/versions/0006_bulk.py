"""Bulk imports, their rows, and files that wait to be read.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATUSES = "'PREVIEWING', 'PREVIEW', 'EXPIRED', 'APPLYING', 'UNDOING', 'APPLIED', 'REVERTING', 'RESTORING', "


def _name() -> sa.Text:
    return sa.Text(collation="C")


def _time(name: str, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))


def _count(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))


def _flag(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.text("false"))


def _of_import(table: str) -> sa.Column[object]:
    key = sa.ForeignKey("imports.id", name=f"{table}_import_fkey", ondelete="CASCADE")
    return sa.Column("import_id", _name(), key, nullable=False)


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "imports",
        sa.Column("id", _name(), primary_key=True),
        sa.Column("mode", _name(), nullable=False),
        sa.Column("status", _name(), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("file_name", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("created_by", _name(), nullable=False),
        _now("created_at"),
        _now("updated_at"),
        _time("expires_at", nullable=False),
        _count("rows"),
        _count("valid"),
        _count("changed"),
        _count("error_count"),
        sa.Column("errors", JSONB, nullable=False, server_default=sa.text("'[]'")),
        _flag("force"),
        _flag("checked"),
        sa.Column("actor", _name(), nullable=False, server_default=sa.text("''")),
        _count("done"),
        sa.Column("failure", JSONB),
        _time("applied_at"),
        _time("reverted_at"),
        sa.CheckConstraint("mode IN ('set', 'add')", name="mode"),
        sa.CheckConstraint(f"status IN ({_STATUSES}'REVERTED', 'FAILED')", name="status"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("imports_created_idx", "imports", ["created_at", "id"])
    op.create_index("imports_status_idx", "imports", ["status", "updated_at"])
    op.create_table(
        "import_rows",
        _of_import("import_rows"),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("sku", _name(), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("current", sa.BigInteger, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text),
        sa.PrimaryKeyConstraint("import_id", "row"),
    )
    op.create_table(
        "import_files",
        _of_import("import_files"),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("import_id", "part"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("import_files")
    op.drop_table("import_rows")
    op.drop_table("imports")
