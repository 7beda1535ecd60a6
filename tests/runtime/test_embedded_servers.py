"""The embedded servers: they start, keep their data over SIGKILL, and admit nobody else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from runtime.child_process import unprivileged_user
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis

NOBODY = 65534


def test_redis_runs_with_the_promised_configuration(make_redis: Callable[..., EmbeddedRedis]) -> None:
    with make_redis().client() as client:
        assert client.config_get("appendonly", "appendfsync", "maxmemory-policy", "save", "port") == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "port": "0",
        }


def test_redis_can_sync_every_write(make_redis: Callable[..., EmbeddedRedis]) -> None:
    with make_redis(appendfsync="always").client() as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_redis_keeps_what_it_acknowledged_over_sigkill(make_redis: Callable[..., EmbeddedRedis]) -> None:
    server = make_redis()
    with server.client() as client:
        for number in range(100):
            client.incr("answered", 1)
            client.xadd("stream", {"n": number})
    server.kill()
    server.start()
    with server.client() as client:
        assert client.get("answered") == b"100"
        assert client.xlen("stream") == 100


def test_postgres_keeps_what_it_committed_over_sigkill(
    make_postgres: Callable[..., EmbeddedPostgres],
) -> None:
    server = make_postgres(fsync="on")
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
    server.kill()
    server.start()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_postgres_starts_when_a_stale_pid_now_belongs_to_another_program(
    make_postgres: Callable[..., EmbeddedPostgres],
) -> None:
    server = make_postgres()
    server.kill()
    pid_file = server.folder / "cluster" / "postmaster.pid"
    rest = pid_file.read_text().partition("\n")[2]
    impostor = subprocess.Popen(
        ["/bin/cat"],
        stdin=subprocess.PIPE,
        user=unprivileged_user().uid if os.geteuid() == 0 else None,
        cwd="/",
    )
    try:
        pid_file.write_text(f"{impostor.pid}\n{rest}")
        server.start()
    finally:
        impostor.communicate()


def test_postgres_works_below_a_folder_its_account_may_not_enter(server_folder: Path) -> None:
    locked = server_folder / "locked"
    locked.mkdir(mode=0o700)
    server = EmbeddedPostgres(locked / "postgres", settings={"fsync": "off"})
    server.start()
    try:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()


def test_a_data_directory_too_deep_for_a_socket_works_all_the_same(server_folder: Path) -> None:
    deep = server_folder / ("a" * 90) / ("b c" * 20)
    store, database = (
        EmbeddedRedis(deep / "redis"),
        EmbeddedPostgres(deep / "postgres", settings={"fsync": "off"}),
    )
    try:
        store.start()
        database.start()
        with store.client() as client:
            assert client.ping()
        with psycopg.connect(database.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        outside = [store.socket_path.parent, database.socket_folder]
    finally:
        store.stop()
        database.stop()
    assert not any(folder.exists() for folder in outside)


def test_sockets_are_closed_to_other_accounts(redis_server: EmbeddedRedis, postgres_server: EmbeddedPostgres) -> None:
    for folder in (redis_server.socket_path.parent, postgres_server.socket_folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(redis_server.socket_path.stat().st_mode) == 0o600


@pytest.mark.parametrize("account", [NOBODY, 12345] if os.geteuid() == 0 else [])
def test_another_account_gets_no_session(
    account: int, redis_server: EmbeddedRedis, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Even the account the Postgres server itself runs as: the map of peer names does not list it."""
    attempt = textwrap.dedent(
        f"""
        import os, psycopg, redis, sys
        postgres = os.open({str(postgres_server.socket_folder)!r}, os.O_RDONLY)
        store = redis.Redis.from_url({redis_server.url!r})
        os.setgroups([]); os.setgid({account}); os.setuid({account})
        for attempt in (
            lambda: psycopg.connect("postgresql://holdfast@/holdfast?host=/proc/self/fd/%d" % postgres),
            lambda: psycopg.connect({postgres_server.url!r}),
            store.ping,
        ):
            try:
                attempt()
            except (psycopg.OperationalError, redis.ConnectionError) as refused:
                print("refused", type(refused).__name__)
            else:
                sys.exit("got in")
        """
    )
    run = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("refused") == 3


def test_no_server_outlives_a_killed_parent(server_folder: Path, wait_until: Callable[..., Any]) -> None:
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from runtime.embedded_postgres import EmbeddedPostgres
        from runtime.embedded_redis import EmbeddedRedis
        folder = Path({str(server_folder)!r})
        servers = EmbeddedRedis(folder / "redis"), EmbeddedPostgres(folder / "postgres")
        for server in servers:
            server.start()
        print(*(server.process.pid for server in servers), flush=True)
        input()
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.communicate()
    wait_until(lambda: not any(_is_alive(pid) for pid in pids), what="both servers gone")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_key_leak_check_finds_what_is_not_ours(redis_client: redis.Redis, known_keys: list[str]) -> None:
    from tests.key_leaks import leaked_keys

    known_keys.append(".*")
    redis_client.set("{h00}:r:" + "a" * 24, "no ttl")
    redis_client.set("{h00}:r:" + "b" * 24, "ttl", ex=60)
    redis_client.set("{h00}:stock", "not a hash")
    redis_client.set("stray", "x")
    assert sorted(leaked_keys(redis_client)) == [
        "record {h00}:r:" + "a" * 24 + " has no TTL",
        "stray (string) is no key of ours",
        "{h00}:stock is a string, not a hash",
    ]


async def test_async_tests_run_and_each_has_its_own_database(
    database_url: str, empty_database_url: str, eventually: Callable[..., Any]
) -> None:
    assert database_url != empty_database_url
    assert await eventually(lambda: True)
