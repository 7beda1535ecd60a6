"""The errors that a command tells its user in words instead of a traceback.

Owns that list; every one of them has a message that names what is wrong and what to do.
"""

from __future__ import annotations

from typing import Final

import redis
from sqlalchemy.exc import OperationalError

from engine.errors import HoldfastError, Unavailable
from inventory.refusals import Refusal
from persistence.bootstrap_keys import KeyTaken
from persistence.database import DatabaseUnavailable
from persistence.ledger_writer import LedgerError
from runtime.config_audit import ConfigurationRefused
from runtime.data_folder import DataFolderInUse, DataFolderUnusable
from runtime.embedded_postgres import PostgresStartFailed
from runtime.embedded_redis import RedisStartFailed
from runtime.http_socket import AddressRefused
from runtime.key_commands import UnknownRole
from runtime.server_binaries import ServerNotFound
from runtime.settings import SettingsInvalid
from runtime.store import SchemaDiffers, StoreUnreachable

REFUSALS: Final[tuple[type[Exception], ...]] = (
    AddressRefused,
    ConfigurationRefused,
    DataFolderInUse,
    DataFolderUnusable,
    DatabaseUnavailable,
    HoldfastError,
    KeyTaken,
    LedgerError,
    OperationalError,
    PostgresStartFailed,
    RedisStartFailed,
    Refusal,
    SchemaDiffers,
    ServerNotFound,
    SettingsInvalid,
    StoreUnreachable,
    UnknownRole,
    redis.RedisError,
)

AWAY: Final[tuple[type[Exception], ...]] = (
    DatabaseUnavailable,
    OperationalError,
    StoreUnreachable,
    Unavailable,
    redis.ConnectionError,
    redis.TimeoutError,
)
"""Those that say no more than that a server gave no answer."""
