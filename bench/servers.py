"""Throw-away servers for a benchmark, each on its core: Valkey, Postgres, and one HTTP server process.

Owns starting and stopping them; never measures. Rivals get what they need as HOLDFAST_BENCH_* variables.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGTERM
from typing import Final, Literal

from msgspec import Struct

from bench.cores import LEDGER, LOAD, SERVER, on_core
from engine.bootstrap import open_partition
from persistence.migrate import upgrade
from runtime.child_process import spawn, stop
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import AppendFsync, EmbeddedRedis
from runtime.holdfast_process import HoldfastProcess
from runtime.http_socket import bind_http_socket, listen

START_TIMEOUT_S: Final = 120.0

ADMIN_KEY: Final = "admin-key-of-a-benchmark"
STOREFRONT_KEY: Final = "storefront-key-of-a-benchmark"

REPOSITORY: Final = Path(__file__).resolve().parent.parent


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that goes away again, with a name short enough for unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replica_of(port: int, *, core: int = LOAD) -> Iterator[EmbeddedRedis]:
    """A Valkey that follows the one which listens on this port of 127.0.0.1."""
    with scratch_folder() as folder:
        server = EmbeddedRedis(folder, extra=["auto-aof-rewrite-percentage 0", f"replicaof 127.0.0.1 {port}"])
        with on_core(core):
            server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def valkey(
    appendfsync: AppendFsync = "everysec", *, core: int = LOAD, extra: Sequence[str] = ()
) -> Iterator[EmbeddedRedis]:
    """An empty Valkey with an opened partition, AOF on. `extra`: configuration lines.

    The append-only file is never rewritten meanwhile: a rewrite that falls into one side's turn would be measured as
    that side's cost.
    """
    with scratch_folder() as folder:
        server = EmbeddedRedis(folder, appendfsync=appendfsync, extra=["auto-aof-rewrite-percentage 0", *extra])
        with on_core(core):
            server.start()
        try:
            reopen(server)
            yield server
        finally:
            server.stop()


def reopen(server: EmbeddedRedis) -> None:
    """Throw everything away and open the partition anew."""
    with server.client() as client:
        client.flushall()
        open_partition(client, epoch=1, ledger_seq=0)


@contextmanager
def postgres(settings: Mapping[str, str] | None = None, *, core: int = LEDGER) -> Iterator[EmbeddedPostgres]:
    """A Postgres with Holdfast's tables, synced to disk as in production unless `settings` say otherwise."""
    with scratch_folder() as folder:
        server = EmbeddedPostgres(folder, settings={"shared_buffers": "256MB", **(settings or {})})
        with on_core(core):
            server.start()
            upgrade(server.url)
        try:
            yield server
        finally:
            server.stop()


class HttpServer(Struct, frozen=True):
    """A server process that answers."""

    pid: int
    port: int


@contextmanager
def rival(module: str, env: Mapping[str, str] | None = None) -> Iterator[HttpServer]:
    """Run `python -m bench.rivals.<module>` on the server core. Raises RuntimeError when it does not start."""
    with scratch_folder() as folder, _listening() as listener:
        log, ready = folder / "server.log", folder / "ready"
        variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HOLDFAST_BENCH_READY": str(ready), **(env or {})}
        with on_core(SERVER), log.open("wb") as output:
            process = spawn(
                [sys.executable, "-m", f"bench.rivals.{module}", str(listener.fileno())],
                keep_fds=[listener.fileno()],
                env=variables,
                cwd=REPOSITORY,
                output=output,
            )
        try:
            _wait(ready.exists, process, log)
            yield HttpServer(process.pid, listener.getsockname()[1])
        finally:
            stop(process, SIGTERM, 10.0)


@contextmanager
def holdfast_api(redis_url: str, database_url: str, env: Mapping[str, str] | None = None) -> Iterator[HttpServer]:
    """One API process as `holdfast up` starts it, on the server core."""
    with scratch_folder() as folder, _listening() as listener:
        variables = _environment(redis_url, database_url, env)
        process = HoldfastProcess(
            "api", "api", environment=variables, listen_fd=listener.fileno(), log_path=folder / "api.log"
        )
        with on_core(SERVER):
            process.launch()
        try:
            _wait(process.is_ready, process.process, folder / "api.log")
            yield HttpServer(process.process.pid, listener.getsockname()[1])
        finally:
            process.stop(10.0)


@contextmanager
def holdfast_worker(redis_url: str, database_url: str) -> Iterator[int]:
    """The worker process (flusher and sweeper) on the ledger core; its process id."""
    with _beside("worker", redis_url, database_url) as pid:
        yield pid


@contextmanager
def holdfast_jobs(redis_url: str, database_url: str) -> Iterator[int]:
    """The job process (RQ) on the ledger core; its process id."""
    with _beside("jobs", redis_url, database_url) as pid:
        yield pid


@contextmanager
def _beside(role: Literal["worker", "jobs"], redis_url: str, database_url: str) -> Iterator[int]:
    with scratch_folder() as folder:
        log = folder / f"{role}.log"
        process = HoldfastProcess(role, role, environment=_environment(redis_url, database_url), log_path=log)
        with on_core(LEDGER):
            process.launch()
        try:
            _wait(process.is_ready, process.process, log)
            yield process.process.pid
        finally:
            # A benchmark may have stopped it for a while.
            process.process.send_signal(SIGCONT)
            process.stop(30.0)


def _environment(redis_url: str, database_url: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")},
        "PYTHONPATH": str(REPOSITORY),
        "HOLDFAST_REDIS_URL": redis_url,
        "HOLDFAST_DATABASE_URL": database_url,
        "HOLDFAST_ADMIN_KEY": ADMIN_KEY,
        "HOLDFAST_STOREFRONT_KEY": STOREFRONT_KEY,
        **(env or {}),
    }


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with bind_http_socket("127.0.0.1", 0) as listener:
        listen(listener)
        yield listener


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a server did not start: {log.read_text()[-2000:]}")
        time.sleep(0.01)
