"""What the start says about replicas: by name, with the command that puts it right, against real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from runtime.config_audit import ConfigurationRefused, audit_redis
from runtime.embedded_redis import EmbeddedRedis
from runtime.settings import SettingsInvalid, load_settings
from runtime.store import open_store
from tests.e2e.test_redis_acl import PASSWORD, users
from tests.replica_pair import ReplicaPair
from tests.waiting import wait_until


@pytest.fixture
def pair(server_folder: Path) -> Iterator[ReplicaPair]:
    pair = ReplicaPair(server_folder)
    pair.follow()
    yield pair
    pair.close()


def told(client: redis.Redis, replicas: int, durability: str = "replicated") -> list[tuple[str, str]]:
    return [(one.severity, one.setting) for one in audit_redis(client, durability, replicas).findings]  # type: ignore[arg-type]


def test_a_primary_that_refuses_when_its_replicas_are_gone_passes(pair: ReplicaPair) -> None:
    with pair.primary.client() as client:
        (finding,) = audit_redis(client, "replicated", 1).findings
        assert (finding.severity, finding.setting, finding.found) == ("warn", "min-replicas-to-write", "0")
        for command in finding.fix.split("; "):
            client.execute_command(*command.split())
        assert audit_redis(client, "replicated", 1).findings == ()
        # Where only single requests ask for replicas, the others shall go on without.
        client.config_set("min-replicas-to-write", 0)
        assert audit_redis(client, "journal", 1).findings == ()


def test_too_few_replicas_are_told_but_do_not_keep_it_from_starting(pair: ReplicaPair) -> None:
    with pair.primary.client() as client:
        assert ("warn", "connected_slaves") in told(client, 2)
        pair.replica.kill()
        wait_until(lambda: int(client.info("replication")["connected_slaves"]) == 0, 30)
        assert told(client, 1) == [("warn", "connected_slaves")]
        assert told(client, 0, "journal") == []
        client.config_set("min-replicas-to-write", 1)
        assert told(client, 0, "journal") == [("warn", "min-replicas-to-write")]
        pair.replica.start()


@pytest.mark.parametrize(
    ("rules", "setting"), [("-wait", "WAIT"), ("-publish", "PUBLISH"), ("resetchannels", "PUBLISH")]
)
def test_a_user_that_may_not_wait_is_refused_and_the_remedy_is_one(
    pair: ReplicaPair, database_url: str, rules: str, setting: str
) -> None:
    with pair.primary.client() as admin:
        admin.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", *rules.split())
        url = pair.primary.url.replace("unix://", "unix://shop:secret@")
        settings = load_settings(redis_url=url, database_url=database_url, durability="replicated", replicas=1)
        with pytest.raises(ConfigurationRefused) as refused:
            open_store(settings, None, migrate=False)
        (finding,) = refused.value.findings
        assert finding.setting == setting
        assert "secret" not in str(refused.value)
        admin.execute_command(*finding.fix.split())
    with redis.Redis.from_url(url) as shop:
        assert not [one for one in audit_redis(shop, "replicated", 1).findings if one.severity == "refuse"]


def test_a_replica_is_refused_at_this_level_too(pair: ReplicaPair) -> None:
    with pair.replica.client() as client:
        assert ("refuse", "replicaof") in [
            (one.severity, one.setting) for one in audit_redis(client, "replicated", 1).findings
        ]


def test_settings_that_name_no_replicas_or_no_server_of_ones_own() -> None:
    with pytest.raises(SettingsInvalid, match="HOLDFAST_REPLICAS"):
        load_settings(durability="replicated", redis_url="redis://store")
    with pytest.raises(SettingsInvalid, match="HOLDFAST_REDIS_URL"):
        load_settings(durability="replicated", replicas=1)
    settings = load_settings(durability="replicated", replicas=1, redis_url="redis://store")
    assert (settings.replicas, settings.replica_timeout_ms) == (1, 1000)


def test_a_server_on_its_own_needs_nothing_of_this(make_redis: Callable[..., EmbeddedRedis]) -> None:
    with make_redis().client() as client:
        assert audit_redis(client, "ledger").findings == ()


def test_the_documented_user_may_wait(pair: ReplicaPair) -> None:
    with pair.primary.client() as admin:
        admin.execute_command("ACL", "SETUSER", "holdfast-stock", *users()["holdfast-stock"])
    url = pair.primary.url.replace("unix://", f"unix://holdfast-stock:{PASSWORD}@")
    with redis.Redis.from_url(url) as shop:
        assert told(shop, 1) == [("warn", "min-replicas-to-write")]
