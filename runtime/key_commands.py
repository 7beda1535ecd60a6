"""What `holdfast keys` does: API keys listed, made and revoked straight in Postgres, without the API.

Owns how a command line reaches the key table; never keeps or prints a key.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final, TypeVar, cast, get_args

from persistence.database import Database
from persistence.queries.api_keys import ApiKey, ApiKeys, Role
from runtime.data_folder import new_key
from runtime.settings import Settings
from runtime.store import open_database

T = TypeVar("T")

ROLES: Final = get_args(Role)


class UnknownRole(ValueError):
    """There is no such role; the message lists those there are."""


def list_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """Every key that is not revoked, oldest first. Raises StoreUnreachable, DatabaseUnavailable."""
    active = _with_keys(settings, lambda keys: keys.active())
    return tuple(sorted(active, key=lambda key: key.created_at))


def create_key(settings: Settings, name: str, role: str) -> tuple[str, str]:
    """Make a key; (id, key). Raises UnknownRole, StoreUnreachable, DatabaseUnavailable."""
    if role not in ROLES:
        raise UnknownRole(f"there is no role {role}; choose one of {', '.join(ROLES)}")
    key_id, key = f"key_{secrets.token_hex(8)}", new_key()
    _with_keys(
        settings,
        lambda keys: keys.create(
            key_id,
            name=name,
            role=cast("Role", role),
            key_hash=sha256(key.encode()).digest(),
            created_by="command line",
        ),
    )
    return key_id, key


def revoke_key(settings: Settings, key_id: str) -> bool:
    """Revoke a key; False if there is none with this id. Raises StoreUnreachable, DatabaseUnavailable."""
    return _with_keys(settings, lambda keys: keys.revoke(key_id))


def _with_keys(settings: Settings, use: Callable[[ApiKeys], Awaitable[T]]) -> T:
    database_url = open_database(settings)

    async def run() -> T:
        database = Database(database_url, pool_size=1)
        try:
            return await use(ApiKeys(database))
        finally:
            await database.close()

    return asyncio.run(run())
