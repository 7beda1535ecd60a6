"""Who is signed in: the cookie's token, the session behind it, and the secrets derived from it.

Owns how a browser proves who it is. The table (persistence/queries/console_sessions.py) never sees a token.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Final

from fastapi import Request, Response
from msgspec import Struct

from api.auth import Caller, Permission, caller_of
from persistence.database import Database, DatabaseUnavailable
from persistence.queries import console_sessions

if TYPE_CHECKING:
    from persistence.queries.console_sessions import StoredSession

COOKIE: Final = "holdfast_session"
PATH: Final = "/console"
LASTS_S: Final = 12 * 3600
MAX_TOKEN: Final = 64
MAX_REMEMBERED: Final = 1_000
"""Sessions that a process remembers for when Postgres is away."""


class Viewer(Struct, frozen=True):
    """A person at a browser: the key they signed in with, and their session's secrets."""

    caller: Caller
    name: str
    """Of the key."""
    token: str
    expires_at: datetime

    @property
    def csrf(self) -> str:
        """What every form of this session carries; nobody who can't read the session's pages knows it."""
        return self._derived(b"form")

    def sign(self, text: bytes) -> str:
        """A mark that only this session's server side can make on `text`."""
        return self._derived(b"text" + text)

    def may(self, permission: Permission) -> bool:
        """Whether the role grants it."""
        return bool(self.caller.grants & permission)

    def _derived(self, purpose: bytes) -> str:
        return blake2b(purpose, key=self.token.encode()[:64], digest_size=18).hexdigest()


class Sessions:
    """Sessions of one service, whichever process they were begun in.

    While Postgres is away, those that this process has seen go on working, as API keys do; nobody can sign in then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: dict[bytes, StoredSession] = {}

    async def begin(self, key_id: str) -> str:
        """A new session's token. Raises DatabaseUnavailable."""
        token = secrets.token_urlsafe(32)
        await console_sessions.begin(self._database, _hash(token), key_id, LASTS_S)
        return token

    async def find(self, token: str) -> Viewer | None:
        """Who has this token; None when the session is over or its key revoked. Raises DatabaseUnavailable."""
        if not 0 < len(token) <= MAX_TOKEN:
            return None
        token_hash = _hash(token)
        try:
            stored = await console_sessions.find(self._database, token_hash)
        except DatabaseUnavailable:
            stored = self._remembered.get(token_hash)
            if stored is None:
                raise
            if stored.expires_at <= datetime.now(UTC):
                return None
        else:
            self._remember(token_hash, stored)
        if stored is None:
            return None
        return Viewer(caller_of(stored.key_id, stored.role), stored.key_name, token, stored.expires_at)

    async def end(self, token: str) -> None:
        """Sign out. Raises DatabaseUnavailable."""
        token_hash = _hash(token)
        await console_sessions.end(self._database, token_hash)
        self._remembered.pop(token_hash, None)

    def _remember(self, token_hash: bytes, stored: StoredSession | None) -> None:
        if stored is None:
            self._remembered.pop(token_hash, None)
            return
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[token_hash] = stored


def give_cookie(request: Request, response: Response, token: str) -> None:
    """Have the browser keep the token where no script sees it and no other site's request carries it."""
    response.set_cookie(
        COOKIE, token, max_age=LASTS_S, path=PATH, secure=by_https(request), httponly=True, samesite="strict"
    )


def take_cookie(response: Response) -> None:
    """Have the browser forget the token."""
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")


def by_https(request: Request) -> bool:
    """Whether the browser came by https, here or at the proxy in front: its cookie then never goes over plain http."""
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "").lower() == "https"


def is_same(one: str, other: str) -> bool:
    """Compare secrets without telling by the time taken how far they agree."""
    return hmac.compare_digest(one.encode(), other.encode())


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
