"""Servers for every test: real Valkey and real Postgres, started here, on unix sockets, dying with us.

Owns what all test folders share; never holds fixtures of one layer (they belong in that folder's conftest).

Async tests: write `async def test_...` and async fixtures with plain `@pytest.fixture`; the anyio plugin runs
them (`anyio_mode = "auto"` in pyproject.toml), on asyncio only. pytest-xdist works: every worker process has
its own servers.

Fixtures
- `redis_url`       a Redis of this test alone: empty at the start, searched for leaked keys at the end
- `redis_client`    a synchronous redis-py client on it (bytes, no retries)
- `known_keys`      list: append a regular expression for keys a test leaves behind on purpose
- `database_url`    a Postgres database of this test alone, all migrations applied
- `empty_database_url`  the same without migrations
- `engine`          engine.Engine on `redis_url`, partition opened with epoch 1
- `run_job(name, **arguments)`  async: one run of a registered job as the job process does it, and its Outcome;
                    the partition must be open (`engine`); override `job_settings` for other settings
- `redis_server`, `postgres_server`  the session's servers (runtime.embedded_*): do not stop these,
- `make_redis`, `make_postgres`      factories for servers a test may stop, kill and restart as it likes
- `wait_until(condition, timeout_s=30, what="")`, `await eventually(...)`  polling (tests/waiting.py)
- `without_collector` from here on nothing is collected that something still refers to (tests/leftovers.py)
- `server_folder`   a short private folder outside pytest's own, for sockets and server data
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from persistence.migrate import upgrade
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from runtime.jobs_redis import next_database
from tests import waiting
from tests.key_leaks import leaked_keys
from worker.jobs import running
from worker.jobs.context import JobSettings
from worker.jobs.registry import JOBS
from worker.jobs.running import Outcome

TEMPLATE = "holdfast_template"
FAST_POSTGRES = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB", "shared_buffers": "48MB"}
"""Tests kill servers, never the machine: syncing to disk would only cost time."""

_numbers = itertools.count(1)

_MEMORY = Path("/dev/shm")  # noqa: S108 - made private by tempfile
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 4 << 30:
    # For the servers' data, ours and those of the processes we start: a fresh database for each test is several hundred
    # small files, and costs up to forty times as much on a disk.
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-tests-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server_folder(session_folder: Path) -> Iterator[Path]:
    folder = session_folder / f"test{next(_numbers)}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(session_folder: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(session_folder / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server(session_folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(session_folder / "postgres", settings=FAST_POSTGRES)
    server.start()
    yield server
    server.stop()


class CrashingRedis(EmbeddedRedis):
    """One whose `kill` takes nothing that was acknowledged before it was called.

    With appendfsync everysec a server writes late, by up to two seconds, while a sync of the disk is under way. What
    that loses is the matter of the tests of durability; all others would fail once in a thousand runs.
    """

    def kill(self) -> None:
        stopped = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        if not stopped:  # by a signal of the test: it could tell nothing
            with self.client() as client:
                waiting.wait_until(
                    lambda: not client.info("persistence").get("aof_buffer_length"), 30, "the log to be written"
                )
        super().kill()


@pytest.fixture
def make_redis(server_folder: Path) -> Iterator[Callable[..., EmbeddedRedis]]:
    """`make_redis(**options of EmbeddedRedis)`: a started server of this test alone, stopped afterwards."""
    made: list[EmbeddedRedis] = []

    def make(**options: Any) -> EmbeddedRedis:
        server = CrashingRedis(server_folder / f"redis{len(made)}", **options)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def make_postgres(server_folder: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """`make_postgres(**settings)`: a started server of this test alone, stopped afterwards."""
    made: list[EmbeddedPostgres] = []

    def make(**settings: str) -> EmbeddedPostgres:
        server = EmbeddedPostgres(server_folder / f"postgres{len(made)}", settings={**FAST_POSTGRES, **settings})
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def known_keys() -> list[str]:
    return []


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis, known_keys: list[str]) -> Iterator[str]:
    with redis_server.client() as client:
        client.flushall()
        yield redis_server.url
        leaks = leaked_keys(client, known_keys)
    assert not leaks, "keys left behind:\n" + "\n".join(leaks[:20])


@pytest.fixture
def redis_client(redis_server: EmbeddedRedis, redis_url: str) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def _template_database(postgres_server: EmbeddedPostgres) -> str:
    postgres_server.create_database(TEMPLATE)
    upgrade(postgres_server.database_url(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, _template_database: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    postgres_server.create_database(name, template=_template_database)
    yield postgres_server.database_url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    postgres_server.create_database(name)
    yield postgres_server.database_url(name)
    postgres_server.drop_database(name)


@pytest.fixture
async def engine(redis_url: str, redis_client: redis.Redis) -> AsyncIterator[Any]:
    from engine import Engine, EngineSettings
    from engine.bootstrap import open_partition

    open_partition(redis_client, epoch=1, ledger_seq=0)
    connected = await Engine.connect(redis_url, EngineSettings(epoch=1))
    yield connected
    await connected.close()


@pytest.fixture
def job_settings(redis_url: str, database_url: str) -> JobSettings:
    return JobSettings(redis_url=redis_url, jobs_url=next_database(redis_url), database_url=database_url)


@pytest.fixture
def run_job(job_settings: JobSettings) -> Callable[..., Any]:
    async def run(name: str, **arguments: str | int) -> Outcome:
        return await running.run_job(job_settings, JOBS, name, arguments, uuid.uuid4().hex)

    return run


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return waiting.wait_until


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    return waiting.eventually


@pytest.fixture
def without_collector() -> Iterator[None]:
    """From here on only what nothing refers to goes away."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
