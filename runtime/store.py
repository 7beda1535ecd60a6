"""Opening the store: Postgres and Redis reached, audited, migrated, and found to tell the same story.

Owns the order of those steps, the same for every process; never serves and never starts a server.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, TypeVar

import psycopg
import redis
from msgspec import Struct
from sqlalchemy.exc import OperationalError

from engine.client import open_blocking_client
from engine.fenced import FenceLost
from engine.keys import partition_keys
from engine.stored_numbers import whole
from persistence.bootstrap_keys import ensure_bootstrap_key
from persistence.database_url import psycopg_url
from persistence.flush_plan import JournalBroken
from persistence.ledger_writer import LedgerError, LedgerLost, LedgerWriter
from persistence.migrate import current_revision, head_revision, upgrade
from runtime.config_audit import Finding, ServerReport, audit_postgres, audit_redis, require
from runtime.data_folder import BootstrapKeys
from runtime.settings import Settings, without_password
from worker.recovery import Admitted, Recovery, RecoverySettings

T = TypeVar("T")

REACH_WITHIN_S: Final = 30.0
"""How long a process that starts waits for its servers: they may be starting as well."""

_HOPELESS: Final = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")
"""Refusals of Postgres that waiting does not mend."""


class StoreUnreachable(RuntimeError):
    """Redis or Postgres can't be reached, and waiting does not mend it; the message names it, without its password."""


class StoreAway(StoreUnreachable):
    """Redis or Postgres gives no answer now, and may later. `server`: which one."""

    def __init__(self, server: str, message: str) -> None:
        super().__init__(message)
        self.server = server


class SchemaDiffers(RuntimeError):
    """The database has other tables than this version of the program."""


class OpenedStore(Struct, frozen=True):
    """A store that may be served from."""

    redis_url: str
    database_url: str
    redis_name: str
    postgres_name: str
    epoch: int
    run_id: str
    """Of the Redis server that was admitted."""
    warnings: tuple[Finding, ...]


def open_database(settings: Settings) -> str:
    """The URL of a Postgres that answers and may be used. Raises StoreUnreachable, ConfigurationRefused."""
    if settings.database_url is None:
        raise StoreUnreachable(_not_set("HOLDFAST_DATABASE_URL", settings))
    database_url = settings.database_url.get_secret_value()
    with _answering(database_url):
        _audited_postgres(settings, database_url, time.monotonic() + REACH_WITHIN_S)
    return database_url


def urls_of(settings: Settings) -> tuple[str, str]:
    """(Redis URL, Postgres URL). Raises StoreUnreachable when one is not set."""
    if settings.redis_url is None or settings.database_url is None:
        missing = "HOLDFAST_REDIS_URL" if settings.redis_url is None else "HOLDFAST_DATABASE_URL"
        raise StoreUnreachable(_not_set(missing, settings))
    return settings.redis_url.get_secret_value(), settings.database_url.get_secret_value()


def given_keys(settings: Settings) -> BootstrapKeys | None:
    """The bootstrap keys, if both were given as settings."""
    if settings.admin_key is None or settings.storefront_key is None:
        return None
    return BootstrapKeys(settings.admin_key.get_secret_value(), settings.storefront_key.get_secret_value())


def open_store(
    settings: Settings, keys: BootstrapKeys | None, *, migrate: bool, reach_within_s: float | None = None
) -> OpenedStore:
    """Reach both servers, audit them, bring the tables up to date (or check that they are), open the partition.

    `keys`: the bootstrap keys to make known, if any. `reach_within_s`: how long servers that give no answer are waited
    for; None: REACH_WITHIN_S. Raises StoreUnreachable (StoreAway if waiting longer may help), ConfigurationRefused,
    SchemaDiffers, RecoveryRefused, KeyTaken.
    """
    redis_url, database_url = urls_of(settings)
    with _answering(database_url):
        return _opened(settings, redis_url, database_url, keys, migrate, reach_within_s)


def _opened(  # noqa: PLR0917
    settings: Settings,
    redis_url: str,
    database_url: str,
    keys: BootstrapKeys | None,
    migrate: bool,
    reach_within_s: float | None,
) -> OpenedStore:
    deadline = time.monotonic() + (REACH_WITHIN_S if reach_within_s is None else reach_within_s)
    postgres = _audited_postgres(settings, database_url, deadline)
    warnings = postgres.warnings
    if migrate:
        upgrade(database_url)
    else:
        _require_head(database_url)

    with open_blocking_client(redis_url, answer_timeout_s=5) as client:
        _reach("Redis", redis_url, client.ping, deadline)
        store = audit_redis(client, settings.durability, settings.replicas)
        warnings += require(store)
    admitted = _admitted(settings, redis_url, database_url)

    if keys is not None:
        ensure_bootstrap_key(database_url, "admin", hashlib.sha256(keys.admin_key.encode()).digest())
        ensure_bootstrap_key(database_url, "storefront", hashlib.sha256(keys.storefront_key.encode()).digest())
    return OpenedStore(redis_url, database_url, store.name, postgres.name, admitted.epoch, admitted.run_id, warnings)


@contextmanager
def _answering(database_url: str) -> Iterator[None]:
    """A server that goes away between two steps is away, not a bug. Raises StoreAway, StoreUnreachable."""
    try:
        yield
    except (psycopg.OperationalError, OperationalError) as error:
        raise _unreachable("Postgres", database_url, error) from error
    except redis.RedisError as error:
        hopeless = isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError)
        message = f"Redis can't be used: {_first_line(error)}"
        raise (StoreUnreachable(message) if hopeless else StoreAway("Redis", message)) from error


def _not_set(variable: str, settings: Settings) -> str:
    return f"{variable} is not set, and no `holdfast up` runs on {settings.data_folder}"


def _audited_postgres(settings: Settings, database_url: str, deadline: float) -> ServerReport:
    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(psycopg_url(database_url), connect_timeout=5)

    with _reach("Postgres", database_url, connect, deadline) as connection:
        report = audit_postgres(connection, settings.durability)
    require(report)
    return report


def _reach(name: str, url: str, attempt: Callable[[], T], deadline: float) -> T:
    while True:
        try:
            return attempt()
        except (psycopg.OperationalError, redis.ConnectionError, redis.TimeoutError, ValueError) as error:
            refused = _unreachable(name, url, error)
            if not isinstance(refused, StoreAway) or time.monotonic() > deadline:
                raise refused from error
            time.sleep(0.1)


def _unreachable(name: str, url: str, error: Exception) -> StoreUnreachable:
    """StoreAway for what passes, a plain StoreUnreachable for what somebody has to put right."""
    message = f"{name} at {without_password(url)} can't be reached: {_first_line(error)}"
    hopeless = isinstance(error, redis.AuthenticationError | ValueError) or any(
        sign in str(error) for sign in _HOPELESS
    )
    return StoreUnreachable(message) if hopeless else StoreAway(name, message)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _require_head(database_url: str) -> None:
    have, want = current_revision(database_url), head_revision()
    if have != want:
        raise SchemaDiffers(
            f"the database is at revision {have or 'none'}, this version needs {want}: run `holdfast migrate`"
        )


def recovery_settings(settings: Settings) -> RecoverySettings:
    """The recovery's part of the settings."""
    return RecoverySettings(
        retention_ms=settings.retention_seconds * 1000,
        idempotency_window_ms=settings.idempotency_window_seconds * 1000,
    )


def _admitted(settings: Settings, redis_url: str, database_url: str) -> Admitted:
    """What may be served, once Redis was held against the ledger, and rebuilt from it if it had to be.

    Raises StoreUnreachable, RecoveryRefused.
    """
    recovery = Recovery(redis_url, database_url, recovery_settings(settings))
    deadline = time.monotonic() + REACH_WITHIN_S
    try:
        while True:
            try:
                return recovery.look()
            except FenceLost as error:
                if time.monotonic() > deadline:
                    raise StoreAway("Redis", f"Redis can't be admitted: {error}") from error
            except LedgerError as error:
                raise StoreAway("Postgres", f"Postgres can't be used: {_first_line(error)}") from error
            time.sleep(0.1)
    finally:
        recovery.close()


class FactsNow(Struct, frozen=True):
    """What the store says of itself; None for what could not be asked just now."""

    events: int | None
    """Journal events so far."""
    lag_events: int | None
    """Events not yet in the ledger."""
    holds: int | None
    """Reservations that hold stock now."""


NOTHING_KNOWN: Final = FactsNow(None, None, None)
FACTS_WITHIN_S: Final = 0.25
"""How long whoever asks a StoreWatch is kept waiting: it has processes to look after."""


class StoreWatch:
    """Asks a store for a few numbers, again and again, over connections of its own. Not thread-safe.

    It asks in a thread of its own: a server that hangs gives no sign by which a question could be given up.
    """

    def __init__(self, redis_url: str, database_url: str) -> None:
        self._asking: threading.Thread | None = None
        self._found = NOTHING_KNOWN
        self._redis = open_blocking_client(redis_url, answer_timeout_s=1, connect_timeout_s=1)
        self._writer = LedgerWriter(database_url, 0)
        self._keys = partition_keys(0)

    def __enter__(self) -> StoreWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go; one that hangs ends with the process."""
        if self._asking is None or not self._asking.is_alive():
            self._redis.close()
            self._writer.close()

    def facts(self) -> FactsNow:
        """The numbers of this moment. A server that is away leaves its numbers out, one that hangs all of them."""
        if self._asking is None or not self._asking.is_alive():
            self._found = NOTHING_KNOWN
            self._asking = threading.Thread(target=self._ask, name="store watch", daemon=True)
            self._asking.start()
        self._asking.join(FACTS_WITHIN_S)
        return NOTHING_KNOWN if self._asking.is_alive() else self._found

    def _ask(self) -> None:
        self._found = self._facts()

    def _facts(self) -> FactsNow:
        events: int | None = None
        holds: int | None = None
        lag: int | None = None
        try:
            seq = self._redis.hget(self._keys.meta, "seq")
            events = None if seq is None else whole(seq)
            holds = int(self._redis.zcard(self._keys.deadlines))
        except redis.RedisError:
            return NOTHING_KNOWN
        try:
            lag = None if events is None else max(0, events - self._writer.read_cursor().seq)
        except (LedgerLost, JournalBroken):
            lag = None
        return FactsNow(events, lag, holds)
