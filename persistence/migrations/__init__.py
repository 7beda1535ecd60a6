"""Alembic's revisions of the tables, run by persistence/migrate.py."""
