"""The data directory: its lock, the bootstrap keys kept in it, and where the servers that run in it are.

Owns those three files; never starts a server.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

LOCK_FILE: Final = "holdfast.lock"
KEYS_FILE: Final = "keys.json"
SERVERS_FILE: Final = "servers.json"


class DataFolderInUse(RuntimeError):
    """Another `holdfast up` runs on this data directory; the message says which."""


class DataFolderUnusable(RuntimeError):
    """The data directory can't be made or written, or a file in it is not what it should be."""


class BootstrapKeys(Struct, frozen=True):
    """The two keys every deployment starts with."""

    admin_key: str
    storefront_key: str


class RunningServers(Struct, frozen=True):
    """Where the servers of a running `holdfast up` are reached, for the other commands."""

    redis_url: str
    database_url: str
    http_url: str
    pid: int
    jobs_redis_url: str | None = None
    """None: the database after the one of `redis_url`."""


class DataFolder:
    """A data directory held by this process. The lock ends with the last process that inherited `lock_fd`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_fd = -1

    def acquire(self, timeout_s: float = 15.0) -> None:
        """Make the folder if it is missing (mode 0700) and lock it.

        Servers inherit the lock. When the process that started them was killed a moment ago they may still be
        shutting down: then wait up to `timeout_s` for them. Raises DataFolderInUse, DataFolderUnusable.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataFolderUnusable(f"data directory {self.path}: {error.strerror}") from error
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    os.close(descriptor)
                    raise DataFolderUnusable(f"data directory {self.path}: {error.strerror}") from error
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            if _is_alive(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                who = f"process {holder}" if _is_alive(holder) else f"servers that process {holder} left behind"
                raise DataFolderInUse(f"data directory {self.path} is in use by {who}; stop it, or give another one")
            time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self.lock_fd = descriptor

    def release(self) -> None:
        """Let the folder go."""
        (self.path / SERVERS_FILE).unlink(missing_ok=True)
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def bootstrap_keys(self, admin_key: str | None, storefront_key: str | None) -> tuple[BootstrapKeys, bool]:
        """The bootstrap keys: as given, else as kept in keys.json, else made and kept there (mode 0600).

        Given keys are not written down. The flag is True if keys were made just now and should be printed.
        """
        kept = read_bootstrap_keys(self.path)
        keys = BootstrapKeys(
            admin_key or (kept.admin_key if kept else new_key()),
            storefront_key or (kept.storefront_key if kept else new_key()),
        )
        if kept is not None or (admin_key and storefront_key):
            return keys, False
        _write_private(self.path / KEYS_FILE, msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n")
        return keys, True

    def announce(self, servers: RunningServers) -> None:
        """Let other commands on this data directory find the running servers."""
        _write_private(self.path / SERVERS_FILE, msgspec.json.encode(servers))


def new_key() -> str:
    """A fresh API key: 192 random bits."""
    return "hf_" + secrets.token_urlsafe(24)


def read_bootstrap_keys(folder: Path) -> BootstrapKeys | None:
    """The keys kept in `folder`; None if there are none. Raises DataFolderUnusable if the file is damaged."""
    try:
        return msgspec.json.decode((folder / KEYS_FILE).read_bytes(), type=BootstrapKeys)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataFolderUnusable(f"{folder / KEYS_FILE} can't be read: {error}") from error


def read_running_servers(folder: Path) -> RunningServers | None:
    """The servers that `holdfast up` runs on `folder` now; None if it does not run."""
    try:
        servers = msgspec.json.decode((folder / SERVERS_FILE).read_bytes(), type=RunningServers)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataFolderUnusable(f"{folder / SERVERS_FILE} can't be read: {error}") from error
    return servers if _is_alive(str(servers.pid)) else None


def _write_private(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    unfinished.replace(path)


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
