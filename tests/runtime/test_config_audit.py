"""The configuration audit, against real servers with each bad setting, by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import psycopg
import pytest
import redis

from persistence.migrate import upgrade
from runtime.config_audit import ConfigurationRefused, Durability, audit_postgres, audit_redis, require
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from runtime.settings import load_settings
from runtime.store import open_store
from tests.waiting import wait_until


def test_the_embedded_servers_pass(redis_server: EmbeddedRedis, make_postgres: Callable[..., EmbeddedPostgres]) -> None:
    with redis_server.client() as client:
        report = audit_redis(client, "journal")
    assert report.name.startswith("Valkey ")
    assert report.findings == ()
    server = make_postgres(fsync="on", full_page_writes="on")
    with psycopg.connect(server.url) as connection:
        postgres = audit_postgres(connection, "ledger")
    assert postgres.name.startswith("PostgreSQL ")
    assert postgres.findings == ()


def test_the_embedded_server_of_durability_fsync_passes(make_redis: Callable[..., EmbeddedRedis]) -> None:
    with make_redis(appendfsync="always").client() as client:
        assert audit_redis(client, "fsync").findings == ()


SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync")
LEVELS: tuple[Durability, ...] = get_args(Durability)
# A start at level `ledger` needs a Postgres that syncs, of its own: once is enough, the rules for Redis are the same.
STARTS = [(setting, level) for setting in SETTINGS for level in LEVELS if level != "ledger"] + [
    ("appendonly", "ledger")
]


@pytest.mark.parametrize(("setting", "durability"), STARTS)
def test_no_level_starts_on_a_redis_that_forgets_and_the_remedy_is_one(
    make_redis: Callable[..., EmbeddedRedis],
    make_postgres: Callable[..., EmbeddedPostgres],
    database_url: str,
    setting: str,
    durability: Durability,
) -> None:
    """A start is refused by name; what the message says to run, run as it stands there, is enough, also for later."""
    bad = {"maxmemory-policy": "allkeys-lfu", "appendonly": "no", "appendfsync": "no"}[setting]
    replicas = {"replicas": 1} if durability == "replicated" else {}
    server = make_redis(extra=[f"{setting} {bad}"])
    if durability == "ledger":
        database_url = make_postgres(fsync="on", full_page_writes="on").url
        upgrade(database_url)
    settings = load_settings(redis_url=server.url, database_url=database_url, durability=durability, **replicas)
    with pytest.raises(ConfigurationRefused) as refused:
        open_store(settings, None, migrate=False)
    (finding,) = [one for one in refused.value.findings if one.setting == setting]
    assert f"{setting} is {bad}, wanted" in str(refused.value)
    assert f"To put it right: CONFIG SET {setting} " in str(refused.value)
    with server.client() as client:
        for command in finding.fix.split("; "):
            client.execute_command(*command.split())
        if setting == "appendonly":
            wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 30, "the append-only file")
        assert setting not in {one.setting for one in audit_redis(client, durability).findings}
    kept = [line for line in (server.folder / "redis.conf").read_text().splitlines() if line.startswith(f"{setting} ")]
    assert all(bad not in line.split() for line in kept), kept


def test_a_start_on_a_replica_names_its_primary(make_redis: Callable[..., EmbeddedRedis], database_url: str) -> None:
    server = make_redis(extra=["replicaof 10.11.12.13 6380"])
    with pytest.raises(ConfigurationRefused, match=r"name its primary, 10\.11\.12\.13:6380, in HOLDFAST_REDIS_URL"):
        open_store(load_settings(redis_url=server.url, database_url=database_url), None, migrate=False)


@pytest.mark.parametrize(
    ("line", "durability", "setting"),
    [
        ("maxmemory-policy allkeys-lru", "journal", "maxmemory-policy"),
        ("maxmemory-policy volatile-ttl", "journal", "maxmemory-policy"),
        ("appendonly no", "journal", "appendonly"),
        ("appendfsync no", "journal", "appendfsync"),
        ("appendfsync everysec", "fsync", "appendfsync"),
        ("cluster-enabled yes", "journal", "cluster-enabled"),
        ("replicaof 127.0.0.1 1", "journal", "replicaof"),
    ],
)
def test_a_setting_that_breaks_a_promise_is_refused_by_name(
    make_redis: Callable[..., EmbeddedRedis], line: str, durability: Durability, setting: str
) -> None:
    extra = [line, "databases 1"] if "cluster" in line else [line]
    with make_redis(extra=extra).client() as client:
        report = audit_redis(client, durability)
        assert [finding.setting for finding in report.refusals] == [setting]
        with pytest.raises(ConfigurationRefused, match=setting):
            require(report)


def test_no_sync_while_the_file_is_rewritten_is_a_warning_or_a_refusal(
    make_redis: Callable[..., EmbeddedRedis],
) -> None:
    with make_redis(appendfsync="always", extra=["no-appendfsync-on-rewrite yes"]).client() as client:
        assert [finding.setting for finding in audit_redis(client, "journal").warnings] == ["no-appendfsync-on-rewrite"]
        assert [finding.setting for finding in audit_redis(client, "fsync").refusals] == ["no-appendfsync-on-rewrite"]


@pytest.mark.parametrize("line", ['rename-command CONFIG ""', "user default on nopass ~* &* +@all -config"])
def test_where_config_is_forbidden_info_tells_most_and_the_rest_is_a_warning(
    make_redis: Callable[..., EmbeddedRedis], line: str
) -> None:
    server = make_redis(extra=[line, "maxmemory-policy allkeys-lru"])
    with server.client() as client:
        report = audit_redis(client, "journal")
    assert [finding.setting for finding in report.refusals] == ["maxmemory-policy"]
    assert [finding.setting for finding in report.warnings] == ["CONFIG"]
    assert "appendfsync" in str(report.warnings[0])


class _OldServer:
    """Answers like a server of a version that can't be run here."""

    def __init__(self, **info: object) -> None:
        self._info = {"aof_enabled": 1, "maxmemory_policy": "noeviction", "role": "master", **info}

    def info(self, _section: str) -> dict[str, object]:
        return self._info

    def config_get(self, *_names: str) -> dict[str, str]:
        return {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}


@pytest.mark.parametrize(
    ("info", "accepted"),
    [
        ({"redis_version": "6.2.14"}, False),
        ({"redis_version": "7.0.15"}, True),
        ({"redis_version": "8.2.0"}, True),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "7.2.9"}, False),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.0.1"}, True),
        ({"redis_version": "7.4.0", "redis_mode": "sentinel"}, False),
    ],
)
def test_versions(info: dict[str, Any], accepted: bool) -> None:
    report = audit_redis(_OldServer(**info), "journal")  # type: ignore[arg-type]
    assert (report.refusals == ()) is accepted, report.findings


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_postgres_that_forgets_is_refused_for_ledger_and_told_otherwise(
    make_postgres: Callable[..., EmbeddedPostgres], setting: str
) -> None:
    server = make_postgres(**{"fsync": "on", "full_page_writes": "on", setting: "off"})
    with psycopg.connect(server.url, autocommit=True) as connection:
        (refusal,) = audit_postgres(connection, "ledger").refusals
        assert refusal.setting == setting
        assert [finding.setting for finding in audit_postgres(connection, "journal").warnings] == [setting]
        # What the message says to run, run as it stands there, is enough.
        for statement in refusal.fix.split("; "):
            connection.execute(statement.encode())

    def put_right() -> bool:
        with psycopg.connect(server.url) as connection:
            return audit_postgres(connection, "ledger").findings == ()

    wait_until(put_right, 30, "the setting to be read again")


def test_a_read_only_postgres_is_refused(make_postgres: Callable[..., EmbeddedPostgres]) -> None:
    with psycopg.connect(make_postgres().url, options="-c default_transaction_read_only=on") as connection:
        assert [finding.setting for finding in audit_postgres(connection, "journal").refusals] == ["read only"]


def test_an_encoding_that_loses_names_is_refused(postgres_server: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres_server.database_url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        with psycopg.connect(postgres_server.database_url("latin")) as connection:
            settings = [finding.setting for finding in audit_postgres(connection, "journal").refusals]
        assert settings == ["server_encoding"]
    finally:
        postgres_server.drop_database("latin")


def test_a_server_that_is_away_says_so(server_folder: Any) -> None:
    client = redis.Redis(unix_socket_path=str(server_folder / "nothing.sock"))
    with pytest.raises(redis.ConnectionError):
        audit_redis(client, "journal")
