"""Bulk imports: one row an import, the rows of its file as they were read, and files that wait to be read."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from persistence.tables.columns import metadata, name_text, now_column, time_column

imports = Table(
    "imports",
    metadata,
    Column("id", name_text(), primary_key=True),
    Column("mode", name_text(), nullable=False),
    Column("status", name_text(), nullable=False),
    Column("reason", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("created_by", name_text(), nullable=False),
    now_column("created_at"),
    now_column("updated_at"),
    time_column("expires_at"),
    Column("rows", Integer, nullable=False, server_default=text("0")),
    Column("valid", Integer, nullable=False, server_default=text("0")),
    Column("changed", Integer, nullable=False, server_default=text("0")),
    Column("error_count", Integer, nullable=False, server_default=text("0")),
    Column("errors", JSONB, nullable=False, server_default=text("'[]'")),
    Column("force", Boolean, nullable=False, server_default=text("false")),
    Column("checked", Boolean, nullable=False, server_default=text("false")),
    Column("actor", name_text(), nullable=False, server_default=text("''")),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("failure", JSONB(none_as_null=True)),
    time_column("applied_at", nullable=True),
    time_column("reverted_at", nullable=True),
    CheckConstraint("mode IN ('set', 'add')", name="mode"),
    CheckConstraint(
        "status IN ('PREVIEWING', 'PREVIEW', 'EXPIRED', 'APPLYING', 'UNDOING', 'APPLIED', 'REVERTING', 'RESTORING',"
        " 'REVERTED', 'FAILED')",
        name="status",
    ),
    Index("imports_created_idx", "created_at", "id"),
    Index("imports_status_idx", "status", "updated_at"),
    # Progress rewrites the row many times.
    postgresql_with={"fillfactor": 50},
)
"""`valid`: rows that can be applied; `changed`: those of them that change anything; `checked`: the stock was looked at
again before applying, and what each row changes is fixed since; `actor`: who asked for the step that is under way;
`done`: lines of that step so far."""


import_rows = Table(
    "import_rows",
    metadata,
    Column(
        "import_id",
        name_text(),
        ForeignKey("imports.id", name="import_rows_import_fkey", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("row", Integer, nullable=False),
    Column("sku", name_text(), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("current", BigInteger, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("note", Text),
    PrimaryKeyConstraint("import_id", "row"),
)
"""`current`: on_hand as the preview saw it; `change`: what applying adds to it, negative to take."""


import_files = Table(
    "import_files",
    metadata,
    Column(
        "import_id",
        name_text(),
        ForeignKey("imports.id", name="import_files_import_fkey", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("part", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("import_id", "part"),
)
"""A file between its upload and its preview, in parts; it may be read on another machine than the one that took it."""
