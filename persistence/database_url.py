"""One database URL in the spellings that the drivers want. Never logs or shows one: it may hold a password."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LOSS_NOTICED: Final[Mapping[str, int]] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""For libpq: a server that is gone without a word is given up after some ten seconds, whether an answer is waited for
(keepalives) or it does not even take the question (the user timeout, ms; the kernel's own is a quarter of an hour).
"""

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


def lasting_url(database_url: str) -> str:
    """`psycopg_url` for a connection that is kept: with LOSS_NOTICED, where the URL does not say otherwise itself."""
    url = psycopg_url(database_url)
    missing = [f"{name}={value}" for name, value in LOSS_NOTICED.items() if f"{name}=" not in url]
    return url + ("&" if "?" in url else "?") + "&".join(missing) if missing else url
