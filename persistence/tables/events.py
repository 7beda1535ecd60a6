"""What the journal said, kept for those who read it later: the archive, the announcements on their way into it, and
how far each follower has read.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from persistence.tables.columns import metadata, name_text, now_column, time_column

journal_archive = Table(
    "journal_archive",
    metadata,
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    time_column("at"),
    Column("stream_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("partition", "epoch", "last_seq"),
    CheckConstraint("1 <= first_seq AND first_seq <= last_seq", name="bounds"),
)
"""Journal entries as they were in the stream, a row each, written with the ledger rows they made."""


announcements = Table(
    "announcements",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("base", name_text(), nullable=False),
    Column("event_type", Text, nullable=False),
    Column("data", Text, nullable=False),
    now_column("created_at"),
    time_column("announced_at", nullable=True),
    UniqueConstraint("base"),
    CheckConstraint("base ~ '^[0-9a-f]{24}$'", name="base"),
    # What waits is a handful of rows among all that ever were.
    Index("announcements_waiting_idx", "id", postgresql_where=text("announced_at IS NULL")),
)
"""Events that the service itself has to tell. The flusher sets `announced_at` as it passes the event in the journal."""


follower_cursors = Table(
    "follower_cursors",
    metadata,
    Column("follower", name_text(), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    now_column("updated_at"),
    PrimaryKeyConstraint("follower", "partition"),
    CheckConstraint("epoch >= 1 AND seq >= 0", name="bounds"),
    postgresql_with={"fillfactor": 10},
)
"""How far each follower of the journal has come; moved in the transaction of what it did."""
