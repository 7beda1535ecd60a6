"""What `holdfast keys` does: API keys listed, made and revoked straight in Postgres, without the API.

Owns how a command line reaches the key table; never keeps or prints a key.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final, TypeVar, cast, get_args

from persistence.database import Database
from persistence.queries import admin_audit
from persistence.queries.api_keys import ApiKey, ApiKeys, Role
from runtime.data_folder import new_key
from runtime.settings import Settings
from runtime.store import open_database

T = TypeVar("T")

ROLES: Final = get_args(Role)
COMMAND_LINE: Final = "command line"
"""Stands where the id of a key would: whoever can run this command on the server."""
MAX_TARGET: Final = 255


class UnknownRole(ValueError):
    """There is no such role; the message lists those there are."""


def list_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """Every key that is not revoked, oldest first. Raises StoreUnreachable, DatabaseUnavailable."""
    active = _with_database(settings, lambda database: ApiKeys(database).active())
    return tuple(sorted(active, key=lambda key: key.created_at))


def create_key(settings: Settings, name: str, role: str) -> tuple[str, str]:
    """Make a key; (id, key). Raises UnknownRole, StoreUnreachable, DatabaseUnavailable."""
    if role not in ROLES:
        raise UnknownRole(f"there is no role {role}; choose one of {', '.join(ROLES)}")
    key_id, key = f"key_{secrets.token_hex(8)}", new_key()

    async def create(database: Database) -> int:
        await ApiKeys(database).create(
            key_id,
            name=name,
            role=cast("Role", role),
            key_hash=sha256(key.encode()).digest(),
            created_by=COMMAND_LINE,
        )
        return 201

    _with_database(settings, lambda database: _audited(database, "create_key", key_id, create))
    return key_id, key


def revoke_key(settings: Settings, key_id: str) -> bool:
    """Revoke a key; False if there is none with this id. Raises StoreUnreachable, DatabaseUnavailable."""

    async def revoke(database: Database) -> int:
        return 204 if await ApiKeys(database).revoke(key_id) else 404

    return _with_database(settings, lambda database: _audited(database, "revoke_key", key_id, revoke)) == 204


async def _audited(database: Database, action: str, key_id: str, do: Callable[[Database], Awaitable[int]]) -> int:
    """Do it as an entry of the admin audit, as if it had come over HTTP; gives the status that it would have had."""
    started = time.perf_counter()
    audit_id = await admin_audit.begin(
        database,
        key_id=COMMAND_LINE,
        role="admin",
        action=action,
        method="CLI",
        route="holdfast keys",
        target=key_id[:MAX_TARGET],
        request_id="",
        idempotency_key=False,
    )
    status = await do(database)
    duration_ms = round((time.perf_counter() - started) * 1000)
    await admin_audit.complete(
        database, audit_id, status=status, code=None, target=key_id[:MAX_TARGET], duration_ms=duration_ms
    )
    return status


def _with_database(settings: Settings, use: Callable[[Database], Awaitable[T]]) -> T:
    database_url = open_database(settings)

    async def run() -> T:
        database = Database(database_url, pool_size=1)
        try:
            return await use(database)
        finally:
            await database.close()

    return asyncio.run(run())
