"""API keys by their hash: made, listed, revoked, looked up. Never sees a key itself, only its SHA-256."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, cast

from msgspec import Struct
from sqlalchemy import Row, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from persistence.database import Database
from persistence.pages import Page, checked_limit, page_of, position_time, read_cursor, time_position
from persistence.tables import api_keys

Role = Literal["storefront", "auditor", "operator", "manager", "admin"]

_KEY = api_keys.c


class ApiKey(Struct, frozen=True):
    """What is kept of a key."""

    id: str
    name: str
    role: Role
    key_hash: bytes
    """SHA-256, 32 bytes."""
    created_at: datetime
    created_by: str
    revoked_at: datetime | None


class KeyExists(Exception):
    """There is a key with this id or this hash already."""


class ApiKeys:
    """The table, over one Database. Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, key_id: str, *, name: str, role: Role, key_hash: bytes, created_by: str) -> ApiKey:
        """Keep a new key. Raises KeyExists."""
        statement = insert(api_keys).values(id=key_id, name=name, role=role, key_hash=key_hash, created_by=created_by)
        try:
            (row,) = await self._database.write(statement.returning(api_keys))
        except IntegrityError as error:
            raise KeyExists(f"key {key_id} cannot be made") from error
        return _key(row)

    async def revoke(self, key_id: str) -> bool:
        """Make the key invalid from now on; False when there is no such key. Again: True, and nothing changes."""
        statement = update(api_keys).where(_KEY.id == key_id)
        revoked = func.coalesce(_KEY.revoked_at, func.now())
        return bool(await self._database.write(statement.values(revoked_at=revoked).returning(_KEY.id)))

    async def active(self) -> tuple[ApiKey, ...]:
        """Every key that is not revoked."""
        rows = await self._database.fetch(select(api_keys).where(_KEY.revoked_at.is_(None)))
        return tuple(_key(row) for row in rows)

    async def by_hash(self, key_hash: bytes) -> ApiKey | None:
        """The key with this SHA-256 if it is not revoked."""
        statement = select(api_keys).where(_KEY.key_hash == key_hash, _KEY.revoked_at.is_(None))
        rows = await self._database.fetch(statement)
        return _key(rows[0]) if rows else None

    async def names(self, key_ids: Iterable[str]) -> dict[str, str]:
        """Id -> name of those of these keys that there are, revoked ones too."""
        wanted = sorted(set(key_ids))
        if not wanted:
            return {}
        rows = await self._database.fetch(select(_KEY.id, _KEY.name).where(_KEY.id.in_(wanted)))
        return {row.id: row.name for row in rows}

    async def page(self, limit: int = 50, cursor: str | None = None) -> Page[ApiKey]:
        """A page of all keys, revoked ones too, newest first. Raises InvalidCursor; ValueError for the limit."""
        scope = ("api_keys",)
        order = (_KEY.created_at.desc(), _KEY.id.desc())
        statement = select(api_keys).order_by(*order).limit(checked_limit(limit) + 1)
        if cursor is not None:
            micros, last_id = read_cursor(await self._database.cursor_key(), scope, cursor, (int, str))
            before = tuple_(position_time(int(micros)), last_id)
            statement = statement.where(tuple_(_KEY.created_at, _KEY.id) < before)
        rows = await self._database.fetch(statement)
        return await page_of(
            rows,
            limit,
            _key,
            lambda row: (time_position(row.created_at), row.id),
            key=self._database.cursor_key,
            scope=scope,
        )


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        role=cast("Role", row.role),
        key_hash=bytes(row.key_hash),
        created_at=row.created_at,
        created_by=row.created_by,
        revoked_at=row.revoked_at,
    )
