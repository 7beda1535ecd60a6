"""/readyz tells the truth, part by part, within seconds while a server hangs, and right again when it is back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest
import redis

from engine.keys import partition_keys
from inventory.pulse.sheets import Counts, FlusherSheet, ProcessPulse, SweeperSheet
from persistence.migrate import upgrade
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.http.conftest import Shop
from tests.http.running import RunningService
from tests.waiting import wait_until

BOARD = partition_keys(0).pulse
BOUND_S = 15.0
"""The answer comes within two seconds; a machine may be several times slower. Without a bound it is ten and more."""


@pytest.fixture
def shop_with(make_service: Callable[..., RunningService]) -> Iterator[Callable[..., Shop]]:
    shops: list[Shop] = []

    def make(**servers: str) -> Shop:
        shops.append(Shop(make_service(**servers), "protocol"))
        wait_until(lambda: ready(shops[-1]).status_code == 200, 30, "ready")
        return shops[-1]

    yield make
    for shop in shops:
        shop.close()


def ready(shop: Shop) -> httpx.Response:
    return shop.as_("nobody").get("/readyz")


@contextmanager
def stopped(server: EmbeddedRedis | EmbeddedPostgres) -> Iterator[None]:
    """A server that hangs: every process of it."""
    first = server.process.pid
    listed = os.popen(f"ps -o pid= --ppid {first}").read().split()  # noqa: S605 - a number of ours
    pids = [first, *map(int, listed)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_redis_that_hangs_is_told_of_in_time(shop_with: Callable[..., Shop], make_redis: Any) -> None:
    server = make_redis()
    shop = shop_with(redis=server.url)
    with stopped(server):
        for _ in range(4):
            began = time.monotonic()
            answer = ready(shop)
            assert time.monotonic() - began < BOUND_S
            assert answer.status_code == 503
            told = answer.json()
            assert told["redis"].startswith("no answer for ")
            assert told["obstacles"] == ["redis"]
            assert told["postgres"] == "ok"
            assert answer.headers["retry-after"] == "2"
    wait_until(lambda: ready(shop).status_code == 200, 30, "right again")


def test_a_postgres_that_hangs_is_told_of_in_time(shop_with: Callable[..., Shop], make_postgres: Any) -> None:
    server = make_postgres()
    server.create_database("hanging")
    url = server.database_url("hanging")
    upgrade(url)
    shop = shop_with(database=url)
    with stopped(server):
        for _ in range(4):
            began = time.monotonic()
            told = ready(shop).json()
            assert time.monotonic() - began < BOUND_S
            assert told["postgres"].startswith("no answer for ")
            assert told["flusher"] == "unknown"
            assert told["obstacles"] == ["postgres", "flusher"]
            assert told["redis"] == "ok"
    wait_until(lambda: ready(shop).status_code == 200, 30, "right again")


@pytest.mark.parametrize(
    ("setting", "wrong", "right", "told"),
    [
        ("maxmemory-policy", "allkeys-lru", "noeviction", "maxmemory-policy is allkeys-lru"),
        # Switched on again it would write everything anew, which the end of the test would wait for.
        ("appendonly", "no", None, "appendonly is no"),
    ],
)
def test_what_no_start_would_accept(
    shop_with: Callable[..., Shop], make_redis: Any, setting: str, wrong: str, right: str | None, told: str
) -> None:
    server = make_redis()
    shop = shop_with(redis=server.url)
    with server.client() as client:
        client.config_set(setting, wrong)
        answer = ready(shop)
        assert (answer.status_code, answer.json()["configuration"]) == (503, told)
        assert answer.json()["obstacles"] == ["configuration"]
        if right is not None:
            client.config_set(setting, right)
            assert ready(shop).status_code == 200


def test_what_somebody_should_look_at_takes_no_traffic_away(shop_with: Callable[..., Shop], make_redis: Any) -> None:
    server = make_redis()
    shop = shop_with(redis=server.url)
    told = ready(shop).json()
    # These tests run a flusher, but no worker around it.
    assert (told["worker"], told["sweeper"]) == ("none has told anything lately", "unknown")
    assert told["degraded"] == ["worker", "sweeper"]
    shop.running.services.engine.admission.journal_full = True
    with server.client() as client:
        client.config_set("maxmemory", str(int(client.info("memory")["used_memory"] / 0.97)))
        answer = ready(shop)
        client.config_set("maxmemory", "0")
    shop.running.services.engine.admission.journal_full = False
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert answer.json()["degraded"] == ["worker", "sweeper", "back_pressure", "memory"]
    assert answer.json()["back_pressure"].startswith("the journal is full")


@pytest.mark.parametrize(
    ("sweeper", "told"),
    [
        (SweeperSheet(0, 0, 0, False, False), "ok"),
        (SweeperSheet(0, 0, 0, True, False), "paused: the server's clock has jumped"),
        (SweeperSheet(0, 0, 3, False, False), "3 due holds cannot be ended"),
    ],
)
def test_the_worker_and_its_sweeper(
    shop_with: Callable[..., Shop], redis_client: redis.Redis, sweeper: SweeperSheet, told: str
) -> None:
    shop = shop_with()
    seconds, _ = redis_client.time()
    put_worker(redis_client, seconds * 1000, sweeper)
    answer = ready(shop).json()
    assert (answer["worker"], answer["sweeper"]) == ("ok", told)
    put_worker(redis_client, (seconds - 60) * 1000, sweeper)
    assert ready(shop).json()["worker"] == "none has told anything lately"


def test_a_hold_that_nobody_ends(shop_with: Callable[..., Shop], redis_client: redis.Redis) -> None:
    shop = shop_with()
    shop.reserve(shop.sku(5))
    ((member, _),) = redis_client.zrange(partition_keys(0).deadlines, 0, 0, withscores=True)
    seconds, _ = redis_client.time()
    redis_client.zadd(partition_keys(0).deadlines, {member: (seconds - 90) * 1000})
    put_worker(redis_client, seconds * 1000, SweeperSheet(0, 0, 0, False, False))
    told = ready(shop).json()["sweeper"]
    assert told.startswith("a hold has been due for ")
    assert 90 <= int(told.removeprefix("a hold has been due for ").removesuffix(" s")) < 150


def put_worker(client: redis.Redis, at_ms: int, sweeper: SweeperSheet) -> None:
    pulse = ProcessPulse(
        process="worker", role="worker", host="h", pid=1, at_ms=at_ms, started_at_ms=at_ms, total=Counts(),
        recent=Counts(), window_s=5.0, flusher=FlusherSheet("running", "", 0, 0, 0, 0), sweeper=sweeper,
    )  # fmt: skip
    client.hset(BOARD, "another", msgspec.msgpack.encode(pulse))
