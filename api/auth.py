"""Who is calling: API keys by their SHA-256, from memory on the hot path, refreshed from Postgres.

Owns the cache of active keys and what each role may do. Never sees, keeps or logs a key longer than one lookup.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterable
from enum import IntFlag
from hashlib import sha256
from typing import Final, Literal, Protocol

import structlog
from msgspec import Struct

from api.problems import Problem
from persistence.database import DatabaseUnavailable

Role = Literal["storefront", "auditor", "operator", "manager", "admin"]

MIN_KEY_LENGTH: Final = 24
"""Characters of a key that is given from outside (bootstrap keys)."""
MAX_KEY_LENGTH: Final = 512
MAX_LOOKUPS: Final = 4
"""Unknown keys looked up in Postgres at the same time; the rest wait, so that guessing cannot starve the pool."""
UNKNOWN_FOR_S: Final = 1.0
"""How long a key that Postgres did not know is refused without asking again."""
MAX_UNKNOWN: Final = 10_000
MAX_HEADERS: Final = 10_000
"""Good Authorization headers remembered between two refreshes."""

logger = structlog.get_logger("holdfast.api")


class Permission(IntFlag):
    """What an endpoint asks of a role."""

    RESERVE = 1
    """Make, change and end reservations; report orders."""
    READ_RESERVATION = 2
    """Look at one reservation and at availability."""
    READ = 4
    """Catalogue, stock, ledger and reservation lists."""
    CHANGE_STOCK = 8
    """Catalogue changes, adjust, damage, return."""
    APPROVE = 16
    ADMIN = 32
    """API keys."""


_P = Permission
GRANTS: Final[dict[str, Permission]] = {
    "storefront": _P.RESERVE | _P.READ_RESERVATION,
    "auditor": _P.READ_RESERVATION | _P.READ,
    "operator": _P.READ_RESERVATION | _P.READ | _P.CHANGE_STOCK,
    "manager": _P.READ_RESERVATION | _P.READ | _P.CHANGE_STOCK | _P.APPROVE,
    "admin": _P.RESERVE | _P.READ_RESERVATION | _P.READ | _P.CHANGE_STOCK | _P.APPROVE | _P.ADMIN,
}
"""Role -> what it may do. The one place where it is written down."""


class Caller(Struct, frozen=True):
    """An authenticated API key."""

    id: str
    role: Role
    owner: str
    """Whose reservations it sees: its own id for a storefront, empty (anyone's) for every other role."""
    grants: int

    def require(self, permission: int) -> None:
        """Raise `forbidden` if the role does not grant `permission`."""
        if not self.grants & permission:
            raise forbidden(self)


class StoredKey(Protocol):
    """An active key as Postgres has it."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def role(self) -> str: ...  # noqa: D102
    @property
    def key_hash(self) -> bytes: ...  # noqa: D102


class KeySource(Protocol):
    """Where active keys are read; persistence.queries.api_keys satisfies it."""

    async def active(self) -> Iterable[StoredKey]:
        """Every key that is not revoked."""

    async def by_hash(self, key_hash: bytes) -> StoredKey | None:
        """The active key with this SHA-256, or None."""


def unauthenticated() -> Problem:
    """401: no key, or one that is not known."""
    return Problem("unauthenticated", "Send a valid API key as `Authorization: Bearer <key>`.")


def forbidden(caller: Caller) -> Problem:
    """403: the key is known, its role does not suffice."""
    return Problem("forbidden", f"The role {caller.role} may not do this.")


def new_key() -> str:
    """A fresh key: 192 random bits, recognisable in a leak scan by its prefix."""
    return "hf_" + secrets.token_urlsafe(24)


def digest_of(key: str) -> bytes:
    """What is stored of a key: its SHA-256. Keys are long and random, so a slow hash would protect nothing."""
    return sha256(key.encode()).digest()


def caller_of(key_id: str, role: str) -> Caller:
    """The caller that a key with this id and role makes."""
    if role not in GRANTS:
        raise ValueError(f"unknown role {role!r}")
    owner = key_id if role == "storefront" else ""
    return Caller(key_id, role, owner, int(GRANTS[role]))  # type: ignore[arg-type]


class KeyStore:
    """Active keys in memory. `start` begins refreshing; `known` is what the hot path asks.

    A revoked key stops within `poll_interval_s` plus one query, below the promised 5 seconds. While Postgres is away
    the keys known last go on working; keys never seen get 503, since nobody can tell whether they are valid.
    """

    def __init__(self, source: KeySource, *, poll_interval_s: float = 1.0) -> None:
        self._source = source
        self._poll_interval_s = poll_interval_s
        self._callers: dict[bytes, Caller] = {}
        self._by_header: dict[bytes, Caller] = {}
        self._unknown: dict[bytes, float] = {}
        self._ended: set[str] = set()
        """Ids revoked in this process: a question that was under way meanwhile may still say that they are good."""
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)
        self._refresher: asyncio.Task[None] | None = None
        self._failing = False
        self._loaded = False

    async def start(self) -> None:
        """Load the keys once, raising if Postgres is away, and keep them fresh from now on."""
        await self.refresh()
        self._refresher = asyncio.get_running_loop().create_task(self._keep_fresh())

    async def close(self) -> None:
        """Stop refreshing."""
        if self._refresher is not None:
            self._refresher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refresher
            self._refresher = None

    async def refresh(self) -> None:
        """Read the active keys now."""
        keys = await self._source.active()
        self._callers = {key.key_hash: caller_of(key.id, key.role) for key in keys if key.id not in self._ended}
        self._loaded = True
        self._by_header.clear()
        self._unknown.clear()

    def forget(self, key_id: str) -> None:
        """A key that was revoked is good no longer, whether or not Postgres can be asked again at once."""
        self._ended.add(key_id)
        self._callers = {key_hash: caller for key_hash, caller in self._callers.items() if caller.id != key_id}
        self._by_header.clear()

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            try:
                await self.refresh()
                self._failing = False
            except DatabaseUnavailable:
                if not self._failing:
                    logger.warning("API keys cannot be refreshed: Postgres is away; known keys go on working")
                self._failing = True
            except Exception:
                # A refresher that died would keep revoked keys alive for ever; it must outlive any surprise.
                logger.exception("API keys could not be refreshed")

    def known(self, authorization: bytes) -> Caller | None:
        """The caller behind an Authorization header, from memory alone.

        The key is looked up by its hash, so the time taken says nothing about how much of a guess was right. A header
        that was found good is remembered until the next refresh: the dictionary's own hash is keyed per process, and
        two headers are compared only when it is equal.
        """
        caller = self._by_header.get(authorization)
        if caller is None:
            normal = authorization if authorization[:7] == b"Bearer " else _normalised(authorization)
            caller = self._callers.get(sha256(normal[7:]).digest())
            if caller is not None and len(self._by_header) < MAX_HEADERS:
                self._by_header[authorization] = caller
        return caller

    async def look_up(self, authorization: bytes) -> Caller:
        """The caller behind an Authorization header that `known` did not recognise: Postgres may.

        Raises Problem: `unauthenticated`, or `ledger-unavailable` when Postgres cannot be asked.
        """
        authorization = _normalised(authorization)
        if not MIN_KEY_LENGTH <= len(authorization) - 7 <= MAX_KEY_LENGTH:
            raise unauthenticated()
        if not self._loaded:
            # The store is not open yet: nobody can tell a good key from a bad one.
            raise Problem("ledger-unavailable", "The key cannot be checked at present.")
        key_hash = sha256(authorization[7:]).digest()
        clock = asyncio.get_running_loop().time
        async with self._lookups:
            caller = self._callers.get(key_hash)
            if caller is not None:
                return caller
            if self._unknown.get(key_hash, 0.0) > clock():
                raise unauthenticated()
            try:
                stored = await self._source.by_hash(key_hash)
            except DatabaseUnavailable:
                raise Problem("ledger-unavailable", "The key cannot be checked at present.") from None
            if stored is None or stored.id in self._ended:
                if len(self._unknown) >= MAX_UNKNOWN:
                    self._unknown.clear()
                self._unknown[key_hash] = clock() + UNKNOWN_FOR_S
                raise unauthenticated()
            caller = caller_of(stored.id, stored.role)
            self._callers[key_hash] = caller
            return caller

    async def authenticate(self, authorization: bytes) -> Caller:
        """`known`, then `look_up`: for callers that may wait."""
        return self.known(authorization) or await self.look_up(authorization)


Authenticate = Callable[[bytes], Awaitable[Caller]]


def _normalised(authorization: bytes) -> bytes:
    """`Bearer <key>` whatever the case of the scheme and the spaces around; empty if it is something else."""
    scheme, _, key = authorization.strip().partition(b" ")
    return b"Bearer " + key.strip() if scheme.lower() == b"bearer" else b""
