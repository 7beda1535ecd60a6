"""One database URL in the two spellings that the drivers want. Never logs or shows one: it may hold a password."""

from __future__ import annotations

from typing import Final

_DRIVER: Final = "postgresql+psycopg://"
_PREFIXES: Final = (_DRIVER, "postgresql://", "postgres://")


def _rest(database_url: str) -> str:
    for prefix in _PREFIXES:
        if database_url.startswith(prefix):
            return database_url.removeprefix(prefix)
    raise ValueError("the database URL must begin with postgresql://")


def sqlalchemy_url(database_url: str) -> str:
    """The URL as SQLAlchemy takes it, psycopg 3 named. Raises ValueError when it is no Postgres URL."""
    return _DRIVER + _rest(database_url)


def psycopg_url(database_url: str) -> str:
    """The URL as psycopg and libpq take it. Raises ValueError when it is no Postgres URL."""
    return "postgresql://" + _rest(database_url)
