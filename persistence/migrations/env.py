"""Alembic's entry: runs revisions on the connection that persistence/migrate.py hands over.

Never opens a connection and never reads a settings file of its own.
"""

from __future__ import annotations

from alembic import context

from persistence.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
