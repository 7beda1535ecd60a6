"""Opening the store: what is not there, or not what it should be, is named in words and without a password."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from engine.bootstrap import open_partition
from persistence.migrate import downgrade, upgrade
from runtime import store
from runtime.data_folder import BootstrapKeys
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from runtime.settings import Settings, load_settings
from runtime.store import FactsNow, SchemaDiffers, StoreUnreachable, StoreWatch, open_database, open_store
from tests.waiting import wait_until

KEYS = BootstrapKeys("an-admin-key-of-some-length", "a-storefront-key-of-some-length")


def _settings(redis_url: str, database_url: str) -> Settings:
    return load_settings(redis_url=redis_url, database_url=database_url)


def test_opening_twice_is_harmless_and_tells_what_it_found(redis_url: str, database_url: str) -> None:
    settings = _settings(redis_url, database_url)
    first = open_store(settings, KEYS, migrate=True)
    assert first == open_store(settings, KEYS, migrate=False)
    assert first.epoch == 1
    assert first.redis_name.startswith("Valkey")
    with StoreWatch(redis_url, database_url) as watch:
        wait_until(lambda: watch.facts() == FactsNow(0, 0, 0), what="a new store's numbers")


def test_a_watch_is_not_held_up_by_a_postgres_that_hangs(
    redis_url: str, redis_client: redis.Redis, make_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    server = make_postgres()
    server.create_database("watched")
    url = server.database_url("watched")
    upgrade(url)
    open_partition(redis_client, epoch=1, ledger_seq=0)
    with StoreWatch(redis_url, url) as watch:
        wait_until(lambda: watch.facts() == FactsNow(0, 0, 0), what="its numbers")
        first = server.process.pid
        pids = [first, *map(int, os.popen(f"ps -o pid= --ppid {first}").read().split())]  # noqa: S605 - a number of ours
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            # Twice: the second look finds the first one still asking.
            found: list[FactsNow] = []
            looking = threading.Thread(target=lambda: found.extend((watch.facts(), watch.facts())), daemon=True)
            looking.start()
            looking.join(30)
            assert found == [FactsNow(None, None, None)] * 2
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        wait_until(lambda: watch.facts() == FactsNow(0, 0, 0), what="its numbers again")


def test_tables_of_another_version_are_refused_with_the_remedy(redis_url: str, database_url: str) -> None:
    downgrade(database_url)
    with pytest.raises(SchemaDiffers, match="holdfast migrate"):
        open_store(_settings(redis_url, database_url), KEYS, migrate=False)


@pytest.mark.parametrize("missing", ["redis_url", "database_url"])
def test_a_missing_url_is_named(missing: str, tmp_path: Path) -> None:
    urls = {"redis_url": "redis://127.0.0.1:1/0", "database_url": "postgresql://u@/d?host=/nowhere"}
    del urls[missing]
    with pytest.raises(StoreUnreachable, match=f"HOLDFAST_{missing.upper()}"):
        open_store(load_settings(data_dir=tmp_path, **urls), KEYS, migrate=False)


def test_an_absent_postgres_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "REACH_WITHIN_S", 0.2)
    url = f"postgresql://shop:hunter2hunter2@/shop?host={tmp_path}"
    with pytest.raises(StoreUnreachable, match=r"Postgres at postgresql://shop:\*\*\*@") as refused:
        open_database(load_settings(database_url=url))
    assert "hunter2" not in str(refused.value)


def test_a_redis_that_appears_late_is_waited_for(database_url: str, server_folder: Path) -> None:
    """Servers and processes of a deployment start in any order."""
    import threading

    late = EmbeddedRedis(server_folder / "late")
    settings = _settings(late.url, database_url)
    opened: list[store.OpenedStore] = []
    opening = threading.Thread(target=lambda: opened.append(open_store(settings, KEYS, migrate=True)))
    opening.start()
    late.start()
    try:
        opening.join(60)
        assert opened
    finally:
        late.stop()


def test_a_wrong_password_is_not_waited_for(make_redis: Callable[..., EmbeddedRedis], database_url: str) -> None:
    server = make_redis(extra=["user shop on >right-password ~* &* +@all"])
    url = server.url.replace("unix://", "unix://shop:wrong-password@")
    with pytest.raises(StoreUnreachable, match="Redis at unix://") as refused:
        open_store(_settings(url, database_url), KEYS, migrate=False)
    assert "wrong-password" not in str(refused.value)
