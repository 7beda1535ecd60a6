"""Brings a database to a revision of the tables, and tells which one it has.

Owns running Alembic; callers at the same time are put in line by an advisory lock. Never makes a database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from persistence.database_url import sqlalchemy_url

_LOCK: Final = 0x486F6C64
"""Key of the advisory lock; any constant that no other program uses."""


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the tables up to `revision`. Safe to call from many processes at once; the later ones find it done.

    Raises sqlalchemy.exc.OperationalError when the database cannot be reached.
    """
    with _locked(database_url) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take the tables back to `revision`; `base` drops everything, ledger included."""
    with _locked(database_url) as connection:
        command.downgrade(_config(connection), revision)


def current_revision(database_url: str) -> str | None:
    """The revision the database has, or None when it has no tables yet."""
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str | None:
    """The newest revision this code knows."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


@contextmanager
def _locked(database_url: str) -> Iterator[Connection]:
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        # Held by the session, so that it outlives the transaction of the revisions; closing lets it go.
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        connection.commit()
        yield connection
        connection.commit()


def _config(connection: Connection | None) -> Config:
    config = Config()
    location = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
