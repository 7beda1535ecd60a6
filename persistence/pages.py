"""Pages of a list and the cursors that lead from one to the next.

Owns the cursor format; never builds a query. A cursor is opaque, belongs to one list with one set of filters, and is
signed: one that was altered, or made for another list, is refused rather than half believed.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

MAX_LIMIT: Final = 500
"""Items on one page."""

_SIGNATURE_BYTES: Final = 12
_MAX_CURSOR: Final = 2_000
"""Characters; no cursor of ours is near it."""

T = TypeVar("T")
Position = tuple[str | int, ...]


class InvalidCursor(Exception):
    """The cursor is not one that this list gave out."""


class Page(Struct, Generic[T], frozen=True):
    """Some items of a list, and the cursor of what follows; None at the end."""

    items: tuple[T, ...]
    next_cursor: str | None


def make_cursor(key: bytes, scope: object, position: Position) -> str:
    """The cursor of what follows `position` in the list `scope` (any value msgpack takes: name and filters)."""
    body = msgspec.msgpack.encode(position)
    return urlsafe_b64encode(_signature(key, scope, body) + body).decode().rstrip("=")


def read_cursor(key: bytes, scope: object, cursor: str, kinds: tuple[type, ...]) -> Position:
    """The position in a cursor of the list `scope`, of these types. Raises InvalidCursor."""
    if not cursor or len(cursor) > _MAX_CURSOR or not cursor.isascii():
        raise InvalidCursor("not a cursor")
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidCursor("not a cursor") from error
    signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(key, scope, body)):
        raise InvalidCursor("not a cursor of this list")
    # Base64 has several spellings of one value; only ours is taken.
    if urlsafe_b64encode(raw).decode().rstrip("=") != cursor:
        raise InvalidCursor("not a cursor of this list")
    position = tuple(msgspec.msgpack.decode(body, type=list[str | int]))
    if tuple(map(type, position)) != kinds:
        raise InvalidCursor("not a cursor of this list")
    return position


async def page_of(
    rows: Sequence[Any],
    limit: int,
    item: Callable[[Any], T],
    position: Callable[[Any], Position],
    *,
    key: Callable[[], Awaitable[bytes]],
    scope: object,
) -> Page[T]:
    """A page of `limit` items from rows of which one more than that was asked for."""
    more = len(rows) > limit
    shown = rows[:limit]
    cursor = make_cursor(await key(), scope, position(shown[-1])) if more else None
    return Page(tuple(item(row) for row in shown), cursor)


def checked_limit(limit: int) -> int:
    """`limit` if a page may be that long. Raises ValueError: the API has checked it before."""
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit must be from 1 to {MAX_LIMIT}, not {limit}")
    return limit


def time_position(moment: datetime) -> int:
    """A timestamp as a cursor carries it, exact to the microsecond of Postgres."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def position_time(microseconds: int) -> datetime:
    """The inverse of `time_position`. Raises InvalidCursor when no timestamp is that far away."""
    try:
        seconds, micros = divmod(microseconds, 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    except (OverflowError, OSError, ValueError) as error:
        raise InvalidCursor("not a cursor of this list") from error


def _signature(key: bytes, scope: object, body: bytes) -> bytes:
    scoped = msgspec.msgpack.encode(scope)
    return blake2b(len(scoped).to_bytes(4) + scoped + body, key=key[:64], digest_size=_SIGNATURE_BYTES).digest()
