"""Throw-away servers for a benchmark, each on its core: Valkey, Postgres, and one HTTP server process.

Owns starting and stopping them; never measures. What a server needs, its wiring gets as HOLDFAST_BENCH_* variables.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM
from typing import Final

import redis
from msgspec import Struct

from bench.cores import LOAD, SERVER, on_core
from engine.bootstrap import open_partition
from persistence.migrate import upgrade
from runtime.child_process import spawn, stop
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import AppendFsync, EmbeddedRedis

START_TIMEOUT_S: Final = 30.0

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
def valkey(appendfsync: AppendFsync = "everysec", *, core: int = LOAD) -> Iterator[EmbeddedRedis]:
    """An empty Valkey with an opened partition, AOF on.

    The append-only file is never rewritten meanwhile: a rewrite that falls into one side's turn would be measured as
    that side's cost.
    """
    with scratch_folder() as folder:
        server = EmbeddedRedis(folder, appendfsync=appendfsync, extra=["auto-aof-rewrite-percentage 0"])
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
def postgres(settings: Mapping[str, str] | None = None, *, core: int = LOAD) -> Iterator[EmbeddedPostgres]:
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
def http_server(module: str, env: Mapping[str, str] | None = None, *, core: int = SERVER) -> Iterator[HttpServer]:
    """Run `python -m module --fd N` on one core, listening on a free port of 127.0.0.1.

    Raises RuntimeError with the end of its output when it does not begin to accept connections.
    """
    with scratch_folder() as folder, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        log = folder / "server.log"
        ready = folder / "ready"
        variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HOLDFAST_BENCH_READY": str(ready), **(env or {})}
        with on_core(core), log.open("wb") as output:
            process = spawn(
                [sys.executable, "-m", module, str(listener.fileno())],
                keep_fds=[listener.fileno()],
                env=variables,
                cwd=REPOSITORY,
                output=output,
            )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{module} did not start: {log.read_text()[-2000:]}")
                time.sleep(0.01)
            yield HttpServer(process.pid, port)
        finally:
            stop(process, SIGTERM, 10.0)


def keep_warm(client: redis.Redis) -> None:
    """Wait until what earlier work left to write to the append-only file is written."""
    while int(client.info("persistence").get("aof_buffer_length", 0)):  # type: ignore[union-attr]
        time.sleep(0.005)
