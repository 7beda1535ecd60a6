"""A private Postgres in a data directory, reachable only through a unix socket that admits this account.

Owns its cluster, configuration, start, stop and restart; never makes tables.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg

from runtime.child_process import ServerUser, spawn, stop, unprivileged_user
from runtime.server_binaries import can_enter, postgres_programs
from runtime.socket_folder import socket_folder

ROLE: Final = "holdfast"
DATABASE: Final = "holdfast"

_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "jit": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


class PostgresStartFailed(RuntimeError):
    """The server ended or stayed silent while it was started; the message holds the end of its log."""


class EmbeddedPostgres:
    """One server process and its cluster. Not thread-safe; start it from the thread that lives longest.

    As root the server runs as `nobody`. When `nobody` may not enter the folders above the data, it is handed
    an open descriptor of it and reaches the data through /proc/self/fd, so any data directory will do.
    """

    def __init__(
        self, folder: Path, *, settings: Mapping[str, str] | None = None, keep_fds: Sequence[int] = ()
    ) -> None:
        """`folder` (made if missing) keeps cluster, socket and log; `settings` override the configuration.

        `keep_fds`: descriptors the server holds while it lives.
        """
        self.folder = folder
        self._settings = {**_SETTINGS, **(settings or {})}
        self._keep_fds = tuple(keep_fds)
        self._user = unprivileged_user()
        self._socket_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket_folder(self) -> Path:
        """Folder of the unix socket, the same over restarts of this object."""
        if self._socket_folder is None:
            self._socket_folder = socket_folder(self.folder)
        return self._socket_folder

    @property
    def url(self) -> str:
        """`postgresql://...` of the main database."""
        return self.database_url(DATABASE)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server process. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError("the embedded Postgres was not started")
        return self._process

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self.folder / "postgres.log"

    def database_url(self, database: str) -> str:
        """`postgresql://...` of another database of this server."""
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self.socket_folder))}"

    def start(self, timeout_s: float = 120.0) -> None:
        """Make the cluster if there is none, start, wait until it answers. Raises PostgresStartFailed."""
        self.launch()
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if self.process.poll() is not None:
                raise PostgresStartFailed(f"the embedded Postgres ended: {self.end_of_log()}")
            if time.monotonic() > deadline:
                stop(self.process, signal.SIGINT, 5.0)
                raise PostgresStartFailed(f"no answer in {timeout_s:g} s: {self.end_of_log()}")
            time.sleep(0.01)

    def has_cluster(self) -> bool:
        """True if the cluster was made before; making it takes a second."""
        return (self.folder / "cluster").exists()

    def launch(self) -> None:
        """Start without waiting; makes the cluster if there is none. Raises PostgresStartFailed, ServerNotFound."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        programs = postgres_programs(self._user)
        if not self.has_cluster():
            self._make_cluster(programs)
        own = _Reach(self.folder / "cluster", self._user)
        sockets = _Reach(self.socket_folder, self._user)
        try:
            self._disown_stale_pid()
            self._write_configuration()
            with self.log_path.open("ab") as log:
                self._process = spawn(
                    [programs / "postgres", "-D", own.path, "-k", sockets.path],
                    death_signal=signal.SIGINT,  # a fast shutdown, see stop()
                    user=self._user,
                    keep_fds=[*self._keep_fds, *own.fds, *sockets.fds],
                    cwd="/",
                    output=log,
                )
        finally:
            own.close()
            sockets.close()

    def is_ready(self) -> bool:
        """True if it takes queries; makes the main database if there is none."""
        try:
            with psycopg.connect(self.database_url("postgres"), autocommit=True, connect_timeout=5) as connection:
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                if connection.execute(query, (DATABASE,)).fetchone() is None:
                    connection.execute(f'CREATE DATABASE "{DATABASE}"'.encode())
        except psycopg.OperationalError:  # not listening yet, or still recovering
            return False
        return True

    def stop(self, timeout_s: float = 60.0) -> None:
        """Fast shutdown: open transactions are rolled back, all is synced. Harmless if it is not running."""
        if self._process is not None:
            stop(self._process, signal.SIGINT, timeout_s)
        if self._socket_folder is not None and self.folder.absolute() not in self._socket_folder.parents:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None

    def kill(self) -> None:
        """SIGKILL, as a crash would; its processes notice and end. `start` brings it back."""
        self.process.kill()
        self.process.wait()

    def create_database(self, name: str, template: str = "template1") -> None:
        """Make database `name` (an identifier) as a copy of `template`, which nobody may be connected to."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())

    def drop_database(self, name: str) -> None:
        """Remove database `name`, throwing out whoever is connected to it."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    def _make_cluster(self, programs: Path) -> None:
        # Made aside and renamed when whole: being killed half-way must not leave what looks like a cluster.
        aside = self.folder / "cluster.new"
        if aside.exists():
            shutil.rmtree(aside)
        half_made = _Reach(aside, self._user)
        try:
            self._run_initdb(programs, half_made)
        finally:
            half_made.close()
        aside.rename(self.folder / "cluster")

    def _run_initdb(self, programs: Path, half_made: _Reach) -> None:
        options = ["-U", ROLE, "-A", "peer", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        if self._settings["fsync"] == "off":
            options.append("--no-sync")
        with self.log_path.open("ab") as log:
            process = spawn(
                [programs / "initdb", "-D", half_made.path, *options],
                user=self._user,
                keep_fds=half_made.fds,
                cwd="/",
                output=log,
            )
        if process.wait() != 0:
            raise PostgresStartFailed(f"initdb failed: {self.end_of_log()}")

    def _write_configuration(self) -> None:
        cluster = self.folder / "cluster"
        us = pwd.getpwuid(os.geteuid()).pw_name
        files = {
            "holdfast.conf": "".join(f"{name} = '{value}'\n" for name, value in self._settings.items()),
            "pg_hba.conf": "local all all peer map=holdfast\nlocal replication all peer map=holdfast\n",
            "pg_ident.conf": f'holdfast "{us}" {ROLE}\n',
        }
        for name, text in files.items():
            (cluster / name).write_text(text)
            (cluster / name).chmod(0o600)
            os.chown(cluster / name, self._user.uid, -1)
        main = cluster / "postgresql.conf"
        if "include 'holdfast.conf'" not in main.read_text():
            with main.open("a") as opened:
                opened.write("\ninclude 'holdfast.conf'\n")

    def _disown_stale_pid(self) -> None:
        """Let a pid file of a crashed server not stop us when its number now belongs to another program.

        Common in containers, where numbers repeat. Postgres accepts its parent's number; the rest of the
        file, by which it tells whether processes of the old server still live, stays.
        """
        pid_file = self.folder / "cluster" / "postmaster.pid"
        if not pid_file.exists():
            return
        first, _, rest = pid_file.read_text().partition("\n")
        name = Path(f"/proc/{first.strip().lstrip('-')}/comm")
        if name.exists() and name.read_text().strip() != "postgres":
            pid_file.write_text(f"{os.getpid()}\n{rest}")

    def end_of_log(self) -> str:
        """The last lines of its log, in one line."""
        return " | ".join(self.log_path.read_text(errors="replace").splitlines()[-5:])


class _Reach:
    """A folder that belongs to the server's account, and the path under which that account reaches it."""

    def __init__(self, folder: Path, user: ServerUser) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = str(folder.absolute())
        self.fds: list[int] = []
        if os.geteuid() != 0:
            return
        os.chown(folder, user.uid, user.gid)
        if can_enter(folder.absolute(), user):
            return
        if not Path("/proc/self/fd").is_dir():
            raise PostgresStartFailed(
                f"the server runs as {user.name}, who may not enter {folder}; choose another data directory"
            )
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.fds.append(descriptor)
        self.path = f"/proc/self/fd/{descriptor}"

    def close(self) -> None:
        """Close our copy of the descriptor; the server keeps its own."""
        for descriptor in self.fds:
            os.close(descriptor)
