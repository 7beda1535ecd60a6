"""One service for all of these tests (each uses SKUs of its own), and clients for every role over both adapters.

`shop` is the storefront's and the admin's view of it over the adapter at hand; `make_service` starts a service of the
test's own, for tests that stop servers.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from engine.commands import Configure
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.http.running import ADAPTERS, KEYS, RunningService
from tests.key_leaks import leaked_keys

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def service(
    session_folder: Path, postgres_server: EmbeddedPostgres, _template_database: str
) -> Iterator[RunningService]:
    server = EmbeddedRedis(session_folder / "http-redis")
    server.start()
    name = "http_tests"
    postgres_server.create_database(name, template=_template_database)
    running = RunningService(server.url, postgres_server.database_url(name)).start()
    yield running
    running.stop()
    with server.client() as client:
        leaks = leaked_keys(client)
    server.stop()
    postgres_server.drop_database(name)
    assert not leaks, "keys left behind:\n" + "\n".join(leaks[:20])


@pytest.fixture
def make_service(redis_url: str, database_url: str) -> Iterator[Callable[..., RunningService]]:
    """`make_service(settings, engine_settings)`: a service of this test alone, on servers of this test alone.

    Other servers: `make_service(redis=url, database=url)`.
    """
    started: list[RunningService] = []

    def make(*args: Any, redis: str = redis_url, database: str = database_url) -> RunningService:
        running = RunningService(redis, database, *args).start()
        started.append(running)
        return running

    yield make
    for running in started:
        running.stop()


class Shop:
    """Clients of one service over one adapter, and short ways to what most tests need."""

    def __init__(self, running: RunningService, adapter: str) -> None:
        self.running = running
        self.adapter = adapter
        self._clients: dict[str, httpx.Client] = {}

    def as_(self, name: str) -> httpx.Client:
        """A client with the key of a role (or `other-storefront`); `nobody` sends no key."""
        if name not in self._clients:
            headers = {} if name == "nobody" else {"authorization": f"Bearer {KEYS[name]}"}
            self._clients[name] = httpx.Client(
                base_url=self.running.address(self.adapter), headers=headers, timeout=60, trust_env=False
            )
        return self._clients[name]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def sku(self, stock: int = 10, *, safety: int = 0, threshold: int = 0, active: bool = True) -> str:
        """A SKU of this test alone, straight into the engine."""
        sku = f"T-{uuid.uuid4().hex[:12]}"
        command = Configure(sku, safety, threshold, active, stock, "tests")
        result = self.running.run(lambda: self.running.services.engine.execute(command))
        assert result.status == "ok"
        return sku

    def reserve(self, sku: str, quantity: int = 1, who: str = "storefront", **more: Any) -> dict[str, Any]:
        """A reservation that must succeed."""
        body = {"customer_id": "ann", "sku": sku, "quantity": quantity, **more}
        answer = self.as_(who).post("/inventory/reserve", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def level(self, sku: str) -> tuple[int, int]:
        """(on_hand, reserved) straight from the counters."""
        (level,) = self.running.run(lambda: self.running.services.engine.stock_levels([sku]))
        return level.on_hand, level.reserved

    def records(self) -> int:
        """How many keys Redis has, to see that nothing was made."""
        with redis.Redis.from_url(self.running.redis_url) as client:
            return client.dbsize()

    def journal_seq(self) -> int:
        """The last sequence number: unchanged means that nothing has happened."""
        return self.running.run(self.running.services.engine.journal_state).seq


@pytest.fixture(params=ADAPTERS)
def shop(request: pytest.FixtureRequest, service: RunningService) -> Iterator[Shop]:
    shop = Shop(service, request.param)
    yield shop
    shop.close()


@pytest.fixture
def one_shop(service: RunningService) -> Iterator[Shop]:
    """For cold routes, which both adapters hand to the same FastAPI: once is enough."""
    shop = Shop(service, "protocol")
    yield shop
    shop.close()


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, in the form the contract promises; gives the document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["code"] == code
    assert document["status"] == status
    assert document["type"].endswith(code)
    assert document["title"]
    assert document["detail"]
    assert "Traceback" not in answer.text
    if status == 503:
        assert int(answer.headers["retry-after"]) > 0
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    return document
