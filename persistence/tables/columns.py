"""What every table is made with: the metadata that collects them, and the kinds of columns they share.

Owns conventions only; the tables themselves stand beside it, one file a topic.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, DateTime, MetaData, Text, text

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)


def name_text() -> Text:
    """Text that is looked up, compared and ordered byte by byte, whatever the database's own collation is."""
    return Text(collation="C")


def time_column(name: str, *, nullable: bool = False) -> Column[object]:
    """A point in time."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def now_column(name: str) -> Column[object]:
    """A point in time that is the transaction's own when nothing else is given."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))
