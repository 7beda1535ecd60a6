"""Processes that start while a server is away: they wait and say so, answer 503 meanwhile, and serve when it comes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from persistence.migrate import upgrade
from runtime.data_folder import BootstrapKeys
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from runtime.settings import load_settings
from runtime.store import StoreAway, StoreUnreachable, open_store
from tests.runtime.up_process import clean_environment
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

KEYS = BootstrapKeys("an-admin-key-of-some-length", "a-storefront-key-of-some-length")
HOLDFAST = [sys.executable, "-c", "from runtime.cli import main; main()"]


class Roles:
    """`holdfast api` and the like, each a process of its own, with one log."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.environment = environment
        self._path = folder / "log"
        self._log = self._path.open("wb")
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, role: str) -> subprocess.Popen[bytes]:
        command = [*HOLDFAST, *role.split()]
        process = subprocess.Popen(command, env=self.environment, stdout=self._log, stderr=self._log)
        self.running.append(process)
        return process

    @property
    def log(self) -> str:
        return self._path.read_text()

    def stop(self) -> list[int]:
        for process in self.running:
            process.terminate()
        codes = [process.wait(60) for process in self.running]
        self.running.clear()
        return codes

    def close(self) -> None:
        self.stop()
        self._log.close()
        print(self.log)


@pytest.fixture
def store(make_redis: Callable[..., EmbeddedRedis], make_postgres: Callable[..., EmbeddedPostgres]) -> Any:
    """A store that was opened before, so that nothing but the servers is missing."""
    cache, database = make_redis(), make_postgres()
    upgrade(database.url)
    open_store(load_settings(redis_url=cache.url, database_url=database.url), KEYS, migrate=False)
    return cache, database


@pytest.fixture
def roles(store: Any, server_folder: Path) -> Iterator[Roles]:
    cache, database = store
    environment = clean_environment() | {
        "HOLDFAST_REDIS_URL": cache.url,
        "HOLDFAST_DATABASE_URL": database.url,
        "HOLDFAST_ADMIN_KEY": KEYS.admin_key,
        "HOLDFAST_STOREFRONT_KEY": KEYS.storefront_key,
        "HOLDFAST_PORT": "0",
        "HOLDFAST_WORKERS": "1",
        "HOLDFAST_DATA_DIR": str(server_folder / "never-made"),
    }
    running = Roles(server_folder, environment)
    yield running
    running.close()


def test_every_process_starts_while_postgres_is_away_and_serves_when_it_comes(store: Any, roles: Roles) -> None:
    _, database = store
    database.stop()
    stopped_early = roles.start("jobs work")
    for role in ("worker", "api"):
        roles.start(role)
    wait_until(lambda: "http://" in roles.log, 120, "the API to listen")
    url = re.findall(r"http://[\d.:]+", roles.log)[0]
    wait_until(lambda: roles.log.count("waits for its store") >= 3, 120, "each process to say what it waits for")
    assert "Postgres at " in roles.log

    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["postgres"] == "unavailable"
        assert ready.json()["redis"] == "Postgres gives no answer yet"
        # Nobody can tell a good key from a bad one now: neither is called wrong, and nothing is served.
        for key in (KEYS.storefront_key, KEYS.admin_key, "a-key-that-was-never-made"):
            for path in ("/inventory/availability/MUG", "/inventory/products"):
                answer = client.get(path, headers={"authorization": f"Bearer {key}"})
                assert (answer.status_code, answer.json()["code"]) == (503, "ledger-unavailable")
                assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/inventory/products").status_code == 401

        stopped_early.terminate()
        assert stopped_early.wait(60) == 0

        database.start()
        wait_until(lambda: client.get("/readyz").status_code == 200, 120, "readiness")
        client.headers["authorization"] = f"Bearer {KEYS.admin_key}"
        made = client.put("/inventory/products/MUG", json={"name": "Mug", "initial_stock": 5})
        assert made.status_code == 201, made.text
        held = client.post("/inventory/reserve", json={"customer_id": "ann", "sku": "MUG", "quantity": 1})
        assert held.status_code == 201, held.text
        wrong = client.get("/inventory/products", headers={"authorization": "Bearer a-key-that-was-never-made"})
        assert wrong.status_code == 401
    assert set(roles.stop()) == {0}, roles.log
    assert "Traceback" not in roles.log


def test_an_api_process_starts_while_redis_is_away(store: Any, roles: Roles) -> None:
    cache, _ = store
    cache.stop()
    # Given with this start, and made known once the store is open: until then it must not be called wrong.
    new_key = roles.environment["HOLDFAST_STOREFRONT_KEY"] = "a-new-storefront-key-of-some-length"
    roles.start("api")
    wait_until(lambda: "http://" in roles.log, 120, "the API to listen")
    url = re.findall(r"http://[\d.:]+", roles.log)[0]
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        assert client.get("/readyz").json()["redis"] != "ok"
        client.headers["authorization"] = f"Bearer {new_key}"
        answer = client.get("/inventory/availability/MUG")
        assert (answer.status_code, int(answer.headers["retry-after"]) >= 1) == (503, True)
        cache.start()
        # As many SKUs as before: none.
        wait_until(lambda: client.get("/inventory/availability/MUG").status_code == 404, 120, "answers from Redis")


def test_what_waiting_does_not_mend_is_told_at_once(redis_url: str, database_url: str) -> None:
    wrong = re.sub(r"/test_\d+\?", "/no_such_shop?", database_url)
    assert wrong != database_url
    with pytest.raises(StoreUnreachable, match="does not exist") as refused:
        open_store(load_settings(redis_url=redis_url, database_url=wrong), KEYS, migrate=False)
    assert not isinstance(refused.value, StoreAway)


@pytest.mark.parametrize("away", ["Redis", "Postgres"])
def test_a_server_that_is_away_is_told_from_a_wrong_setting(
    redis_url: str, database_url: str, server_folder: Path, away: str
) -> None:
    if away == "Redis":
        redis_url = f"unix://{server_folder}/nobody.sock"
    else:
        database_url = f"postgresql://holdfast@/holdfast?host={server_folder}"
    settings = load_settings(redis_url=redis_url, database_url=database_url)
    with pytest.raises(StoreAway) as told:
        open_store(settings, KEYS, migrate=False, reach_within_s=0.1)
    assert told.value.server == away
