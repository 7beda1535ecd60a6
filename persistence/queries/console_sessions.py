"""Sessions of the console by the hash of their token: begun, found, ended. Never sees a token itself.

A session is good for as long as its key is: the key is looked at each time.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from msgspec import Struct
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.sql import bindparam

from persistence.database import Database
from persistence.queries.api_keys import Role
from persistence.tables import api_keys, console_sessions

_SESSION = console_sessions.c
_KEY = api_keys.c
_SEEN_AGAIN = text("interval '1 minute'")
"""How old `seen_at` gets before it is written again: not every look at a page is a write."""


class StoredSession(Struct, frozen=True):
    """A session that is good now, and the key it was begun with."""

    key_id: str
    key_name: str
    role: Role
    expires_at: datetime


async def begin(database: Database, token_hash: bytes, key_id: str, lasts_s: float) -> None:
    """Keep a new session for `lasts_s` seconds, and forget those that are over. Raises DatabaseUnavailable."""
    until = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, bindparam("lasts_s", lasts_s))
    await database.write(delete(console_sessions).where(_SESSION.expires_at <= func.now()))
    await database.write(
        insert(console_sessions).values(token_hash=token_hash, key_id=key_id, expires_at=until),
    )


async def find(database: Database, token_hash: bytes) -> StoredSession | None:
    """The session with this token; None if there is none, it is over, or its key is revoked.

    Raises DatabaseUnavailable.
    """
    rows = await database.fetch(
        select(
            _SESSION.key_id,
            _KEY.name,
            _KEY.role,
            _SESSION.expires_at,
            (_SESSION.seen_at < func.now() - _SEEN_AGAIN).label("seen_long_ago"),
        )
        .join_from(console_sessions, api_keys, _SESSION.key_id == _KEY.id)
        .where(_SESSION.token_hash == token_hash, _SESSION.expires_at > func.now(), _KEY.revoked_at.is_(None))
    )
    if not rows:
        return None
    row = rows[0]
    if row.seen_long_ago:
        await database.write(
            update(console_sessions).where(_SESSION.token_hash == token_hash).values(seen_at=func.now())
        )
    return StoredSession(row.key_id, row.name, cast("Role", row.role), row.expires_at)


async def end(database: Database, token_hash: bytes) -> None:
    """Forget a session; nothing when there is none. Raises DatabaseUnavailable."""
    await database.write(delete(console_sessions).where(_SESSION.token_hash == token_hash))
