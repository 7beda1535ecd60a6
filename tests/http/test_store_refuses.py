"""Redis answers, but not with what was asked: a clear 503, nothing half done, and on again by itself.

Each of these is brought about on a real server; what one healthy server never says comes from a proxy before it.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis

from runtime.embedded_redis import EmbeddedRedis
from runtime.server_binaries import redis_program
from tests.http.conftest import Shop, assert_problem
from tests.http.refusing_proxy import RefusingProxy
from tests.http.running import RunningService
from tests.waiting import wait_until

RESERVE = "/inventory/reserve"
MakeService = Callable[..., RunningService]
MakeRedis = Callable[..., EmbeddedRedis]
UNAVAILABLE = "store-unavailable"


@pytest.fixture
def open_shop(make_service: MakeService) -> Iterator[Callable[[str], Shop]]:
    """`open_shop(redis_url)`: a shop on that server."""
    shops: list[Shop] = []

    def make(redis_url: str) -> Shop:
        shop = Shop(make_service(redis=redis_url), "protocol")
        shops.append(shop)
        return shop

    yield make
    for shop in shops:
        shop.close()


def reserve(shop: Shop, sku: str) -> httpx.Response:
    return shop.as_("storefront").post(RESERVE, json={"customer_id": "ann", "sku": sku, "quantity": 1})


def everything_is_refused(shop: Shop, sku: str, held: str, codes: frozenset[str] = frozenset({UNAVAILABLE})) -> None:
    """Every verb and every way that leads to Redis, each with a 503 that says when to ask again."""
    store, office, reader = shop.as_("storefront"), shop.as_("admin"), shop.as_("auditor")
    adjust = {"sku": sku, "kind": "receive", "quantity": 1, "reason": "a delivery"}
    order = {"type": "order.created", "order_id": "o-1", "reservation_ids": [held]}
    for answer in (
        reserve(shop, sku),
        store.post(f"{RESERVE}/{held}/confirm"),
        store.patch(f"{RESERVE}/{held}", json={"ttl_seconds": 60}),
        store.delete(f"{RESERVE}/{held}"),
        store.get(f"{RESERVE}/{held}"),
        store.get(f"/inventory/availability/{sku}"),
        store.post("/inventory/orders", json=order),
        office.post("/inventory/adjust", json=adjust),
        office.post("/inventory/damage", json={"sku": sku, "quantity": 1, "reason": "broken"}),
        reader.get(f"/inventory/products/{sku}/status"),
        reader.get("/inventory/low-stock"),
    ):
        assert answer.json().get("code") in codes, f"{answer.request.method} {answer.request.url}: {answer.text}"
        assert_problem(answer, 503, answer.json()["code"])
    batch = {"reservations": [{"customer_id": "ann", "sku": sku, "quantity": 1}]}
    (item,) = store.post(f"{RESERVE}/batch", json=batch).json()["results"]
    assert (item["status"], item["problem"]["code"] in codes) == (503, True)
    assert shop.as_("nobody").get("/healthz").status_code == 200


def nothing_was_done(shop: Shop, sku: str, held: str) -> None:
    """As before the trouble, and every verb works again."""
    wait_until(lambda: shop.as_("storefront").get(f"{RESERVE}/{held}").status_code == 200, 30, "answers again")
    assert shop.level(sku) == (20, 2)
    assert reserve(shop, sku).status_code == 201
    assert shop.as_("storefront").post(f"{RESERVE}/{held}/confirm").status_code == 200
    assert shop.level(sku) == (18, 1)


@pytest.mark.parametrize(
    "refusal",
    [
        "LOADING Valkey is loading the dataset in memory",
        "CLUSTERDOWN The cluster is down",
        "MOVED 3999 127.0.0.1:6381",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "ERR max number of clients reached",
        "SOMETHING that no version of today says",
    ],
)
def test_whatever_redis_says_instead_of_an_answer(
    make_redis: MakeRedis, open_shop: Callable[[str], Shop], refusal: str
) -> None:
    proxy = RefusingProxy(make_redis().url)
    try:
        shop = open_shop(proxy.url)
        sku = shop.sku(20)
        held = shop.reserve(sku, 2)["id"]
        proxy.refusal = refusal
        everything_is_refused(shop, sku, held)
        assert proxy.refused
        proxy.refusal = ""
        nothing_was_done(shop, sku, held)
    finally:
        proxy.close()


def test_read_only_after_a_failover(make_redis: MakeRedis, open_shop: Callable[[str], Shop]) -> None:
    server = make_redis()
    shop = open_shop(server.url)
    sku = shop.sku(20)
    held = shop.reserve(sku, 2)["id"]
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        for answer in (reserve(shop, sku), shop.as_("storefront").delete(f"{RESERVE}/{held}")):
            assert_problem(answer, 503, UNAVAILABLE)
        client.execute_command("REPLICAOF", "NO", "ONE")
    nothing_was_done(shop, sku, held)


def test_busy_with_somebody_elses_script(make_redis: MakeRedis, open_shop: Callable[[str], Shop]) -> None:
    server = make_redis(extra=["lua-time-limit 10"])
    shop = open_shop(server.url)
    sku = shop.sku(20)
    held = shop.reserve(sku, 2)["id"]

    def run_for_ever() -> None:
        with server.client() as client, pytest.raises(redis.ResponseError, match="killed"):
            client.eval("while true do end", 0)

    other = threading.Thread(target=run_for_ever)
    other.start()
    with server.client() as client:
        wait_until(lambda: _is_busy(client), 30, "the server to be busy")
        everything_is_refused(shop, sku, held)
        assert shop.as_("nobody").get("/readyz").status_code == 503
        client.script_kill()
    other.join(30)
    nothing_was_done(shop, sku, held)


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def disk(server: EmbeddedRedis, *, full: bool) -> None:
    """Full: the append-only file may grow by some bytes and no more, which is the same to whoever writes it."""
    (file,) = server.folder.glob("appendonlydir/*.incr.aof")
    most = file.stat().st_size + 20 if full else resource.RLIM_INFINITY
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


@pytest.fixture
def server_that_survives(make_redis: MakeRedis, server_folder: Path) -> Callable[..., EmbeddedRedis]:
    """`make_redis` with a server that is told of a write that fails (EFBIG) instead of being ended by a signal."""
    program = server_folder / "valkey-server"
    program.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {redis_program(None)} \"$@\"\n")
    program.chmod(0o755)
    return lambda **options: make_redis(program=str(program), **options)


def test_a_full_disk_under_everysec(
    server_that_survives: Callable[..., EmbeddedRedis], open_shop: Callable[[str], Shop]
) -> None:
    server = server_that_survives()
    shop = open_shop(server.url)
    sku = shop.sku(20)
    held = shop.reserve(sku, 2)["id"]
    gone = shop.reserve(sku, 1)["id"]
    with server.client() as client:
        disk(server, full=True)
        # Redis acknowledges the write that fails, and refuses the next ones: it keeps it, and writes it later.
        assert shop.as_("storefront").delete(f"{RESERVE}/{gone}").status_code == 200
        wait_until(lambda: client.info("persistence")["aof_last_write_status"] == "err", 30, "a failed write")
        answer = reserve(shop, sku)
        assert_problem(answer, 503, UNAVAILABLE)
        for answer in (
            shop.as_("storefront").post(f"{RESERVE}/{held}/confirm"),
            shop.as_("storefront").delete(f"{RESERVE}/{held}"),
        ):
            assert_problem(answer, 503, UNAVAILABLE)
        # What changes nothing is still answered.
        assert shop.as_("storefront").get(f"/inventory/availability/{sku}").json()["available"] == 18
        disk(server, full=False)
        wait_until(lambda: client.info("persistence")["aof_last_write_status"] == "ok", 30, "writes again")
    nothing_was_done(shop, sku, held)
    server.kill()
    server.start()
    wait_until(lambda: reserve(shop, sku).status_code == 201, 30, "reserves after the restart")
    assert shop.level(sku) == (18, 2)


def test_a_full_disk_under_always_ends_the_server_and_the_outcome_is_unknown(
    server_that_survives: Callable[..., EmbeddedRedis], open_shop: Callable[[str], Shop]
) -> None:
    server = server_that_survives(appendfsync="always")
    shop = open_shop(server.url)
    sku = shop.sku(20)
    held = shop.reserve(sku, 2)["id"]
    disk(server, full=True)
    answer = reserve(shop, sku)
    assert_problem(answer, 503, "outcome-unknown")
    assert server.process.wait(30) != 0
    everything_is_refused(shop, sku, held)
    server.start()  # without the limit
    nothing_was_done(shop, sku, held)


def test_a_script_flush_under_load_is_not_noticed(make_redis: MakeRedis, open_shop: Callable[[str], Shop]) -> None:
    server = make_redis()
    shop = open_shop(server.url)
    sku = shop.sku(1_000)
    answers: list[int] = []
    stop = threading.Event()

    def buy() -> None:
        while not stop.is_set():
            answers.append(reserve(shop, sku).status_code)

    shop.as_("storefront")
    buyers = [threading.Thread(target=buy) for _ in range(4)]
    for buyer in buyers:
        buyer.start()
    with server.client() as client:
        flushes = 0
        while flushes < 30 or len(answers) < 100:
            client.script_flush()
            flushes += 1
            seen = len(answers)
            wait_until(lambda seen=seen: len(answers) > seen, 30, "another answer")
    stop.set()
    for buyer in buyers:
        buyer.join(30)
    assert set(answers) == {201}
    assert shop.level(sku) == (1_000, len(answers))


def test_a_server_that_is_loading_its_file(make_redis: MakeRedis, open_shop: Callable[[str], Shop]) -> None:
    """Started again with a file that takes long to read: refused until it is read, then on from where it was."""
    server = make_redis(appendfsync="always")
    shop = open_shop(server.url)
    sku = shop.sku(20)
    held = shop.reserve(sku, 2)["id"]
    with server.client() as client:
        for number in range(32):
            client.set(f"ballast:{number}", os.urandom(1 << 20))
        client.bgrewriteaof()
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 60, "the file in one piece")
    server.kill()
    slow = (*server._extra, "key-load-delay 50000", "loading-process-events-interval-bytes 1024")
    server._extra = slow
    server.launch()
    with server.client() as client:
        wait_until(lambda: _is_loading(client), 30, "the server to load")
    everything_is_refused(shop, sku, held, frozenset({UNAVAILABLE, "outcome-unknown"}))
    wait_until(server.is_ready, 60, "the file to be read")
    with server.client() as client:
        client.delete(*[f"ballast:{number}" for number in range(32)])
    nothing_was_done(shop, sku, held)


def _is_loading(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.BusyLoadingError:
        return True
    except redis.ConnectionError:
        return False
    return False
