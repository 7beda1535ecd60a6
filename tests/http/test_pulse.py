"""The pulse: what two API processes count is one picture, whoever asks, and it costs nobody an answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis

from api.lost_demand import LostDemandCounts
from engine.errors import Unavailable
from engine.keys import partition_keys
from inventory.pulse.fleet import Fleet, put_together, quantiles_ms
from inventory.pulse.sheets import LATENCY_BOUNDS_S, Counts, ProcessPulse
from inventory.pulse.writer import PulseWriter
from inventory.readiness import Readiness
from runtime.embedded_redis import EmbeddedRedis
from tests.http.conftest import Shop
from tests.http.running import RunningService
from tests.waiting import wait_until

RESERVE = "/inventory/reserve"
BOARD = partition_keys(0).pulse


@pytest.fixture
def two(make_service: Callable[..., RunningService]) -> Iterator[tuple[Shop, Shop]]:
    """Two services on the same servers: what two API processes are to each other."""
    shops = Shop(make_service(), "protocol"), Shop(make_service(), "asgi")
    yield shops
    for shop in shops:
        shop.close()


def fleet_of(shop: Shop) -> Fleet:
    return shop.running.run(shop.running.app.cold.state.fleet.read)


def total(fleet: Fleet, command: str, *statuses: str) -> int:
    return sum(pulse.total.outcome(command, *statuses) for pulse in fleet.processes)


def test_two_processes_are_one_picture_from_either(two: tuple[Shop, Shop]) -> None:
    one, other = two
    sku = one.sku(3)
    held = [one.reserve(sku), one.reserve(sku), other.reserve(sku)]
    for shop, quantity in ((one, 2), (other, 5)):
        body = {"customer_id": "ann", "sku": sku, "quantity": quantity}
        assert shop.as_("storefront").post(RESERVE, json=body).status_code == 409
    item = {"customer_id": "ann", "sku": sku, "quantity": 4}
    answer = other.as_("storefront").post(f"{RESERVE}/batch", json={"reservations": [item, item]})
    assert [result["status"] for result in answer.json()["results"]] == [409, 409]
    assert one.as_("storefront").post(f"{RESERVE}/{held[0]['id']}/confirm").status_code == 200
    assert other.as_("storefront").delete(f"{RESERVE}/{held[1]['id']}").status_code == 200
    for shop in two:
        fleet = wait_until(
            lambda shop=shop: (
                (found := fleet_of(shop))
                and total(found, "release", "ok") == 1
                and (lost := found.lost(sku)) is not None
                and lost.requests == 4
                and found
            ),
            30,
            "everything is on the board",
        )
        assert len(fleet.processes) == 2
        assert total(fleet, "reserve", "ok") == 3
        assert total(fleet, "reserve", "insufficient_stock") == 4
        assert total(fleet, "confirm", "ok") == 1
        assert sum(pulse.total.problems["insufficient-stock"] for pulse in fleet.processes) == 4
        lost = fleet.lost(sku)
        assert lost is not None
        assert (lost.requests, lost.units) == (4, 2 + 5 + 4 + 4)
        # A window of five seconds may have passed on a slow machine, but what was counted in it is told as a rate.
        assert fleet.live_holds == 1
        assert fleet.vitals is not None
        assert fleet.vitals.epoch == 1
        assert fleet.readiness.redis == "ok"
        assert fleet.journal_lag_events is not None


def test_rates_tell_of_the_last_seconds_only(one_shop: Shop) -> None:
    sku = one_shop.sku(1000)

    def busy() -> bool:
        one_shop.reserve(sku)
        return fleet_of(one_shop).reserves_per_s > 0

    wait_until(busy, 30, "a rate while something is held")
    fleet = fleet_of(one_shop)
    assert fleet.latency_ms.keys() == {"p50", "p95", "p99"}
    assert fleet.batch_commands is not None
    assert fleet.batch_commands >= 1

    def calm() -> bool:
        found = fleet_of(one_shop)
        return bool(found.processes) and found.reserves_per_s == 0 and total(found, "reserve", "ok") > 0

    wait_until(calm, 30, "no rate when nothing happens, and the total stands")


def test_holds_that_end_soon(one_shop: Shop) -> None:
    sku = one_shop.sku(10)
    before = fleet_of(one_shop).expiring_soon
    assert before is not None
    one_shop.reserve(sku, ttl_seconds=30)
    one_shop.reserve(sku, ttl_seconds=4000)
    wait_until(lambda: fleet_of(one_shop).expiring_soon == before + 1, 30, "one of them ends within the minute")


def test_a_process_that_is_gone_leaves_the_picture(
    make_service: Callable[..., RunningService], redis_client: redis.Redis
) -> None:
    shop, ended = Shop(make_service(), "protocol"), make_service()
    wait_until(lambda: len(fleet_of(shop).processes) == 2, 30, "both are seen")
    # Killed: nobody takes its sheet down.
    sheets: dict[bytes, bytes] = redis_client.hgetall(BOARD)
    ended.stop()
    wait_until(lambda: len(redis_client.hgetall(BOARD)) < len(sheets), 30, "it has taken its sheets down")
    left = {name: sheet for name, sheet in sheets.items() if not redis_client.hexists(BOARD, name)}
    redis_client.hset(BOARD, mapping=left)
    wait_until(lambda: len(fleet_of(shop).processes) == 1, 30, "an old sheet is not believed")
    shop.close()


def test_the_board_ends_with_the_last_process(
    make_service: Callable[..., RunningService], redis_client: redis.Redis
) -> None:
    running = make_service()
    assert 0 < redis_client.ttl(BOARD) <= 60
    running.stop()
    assert not redis_client.exists(BOARD)


def test_a_redis_that_is_away_or_full_takes_no_pulse_and_no_answer_with_it(
    make_service: Callable[..., RunningService], make_redis: Callable[..., EmbeddedRedis]
) -> None:
    server = make_redis()
    shop = Shop(make_service(redis=server.url), "protocol")
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        with pytest.raises(Unavailable):
            shop.running.run(shop.running.app.pulse.tell)
        client.config_set("maxmemory", "0")
    shop.running.run(shop.running.app.pulse.tell)
    server.stop()
    fleet = wait_until(lambda: (f := fleet_of(shop)).vitals is None and f, 30, "Redis is away")
    assert fleet.processes == ()
    assert fleet.live_holds is None
    assert fleet.journal_lag_events is None
    assert fleet.readiness.redis != "ok"
    assert fleet.readiness.postgres == "ok"
    server.start()
    wait_until(lambda: fleet_of(shop).processes, 30, "the pulse goes on")
    shop.close()


def test_sheets_of_other_versions_are_left_out(one_shop: Shop) -> None:
    name = f"other:{uuid.uuid4().hex}"
    with redis.Redis.from_url(one_shop.running.redis_url) as client:
        client.hset(BOARD, mapping={name: msgspec.msgpack.encode({"role": "a kind of later"}), f"{name}:lost": b"\xc1"})
        own = next(iter(client.hgetall(BOARD).values()))
        client.hset(BOARD, f"{name}:2", own.replace(b"\xa3api", b"\xa3\xff\xfe\xfd"))
        try:
            assert len(fleet_of(one_shop).processes) == 1
        finally:
            client.hdel(BOARD, name, f"{name}:lost", f"{name}:2")


async def test_the_window_of_the_recent_counts(monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    now_s, asked = 1000.0, 0
    monkeypatch.setattr("inventory.pulse.writer.time.monotonic", lambda: now_s)

    def sheet() -> ProcessPulse:
        return ProcessPulse(
            process="p", role="api", host="", pid=0, at_ms=0, started_at_ms=0,
            total=Counts(requests=asked), recent=Counts(), window_s=0,
        )  # fmt: skip

    writer = PulseWriter(engine, sheet)
    seen = []
    for second in range(12):
        now_s, asked = 1000.0 + second, second * 10
        pulse = writer._pulse()
        seen.append((pulse.recent.requests, round(pulse.window_s)))
    assert seen[:3] == [(0, 1), (10, 1), (20, 2)]
    assert seen[5:] == [(50, 5)] * 7
    assert pulse.started_at_ms == seen_start(writer)


def seen_start(writer: PulseWriter) -> int:
    return writer._started_ms


def test_lost_demand_is_bounded_and_keeps_the_busiest() -> None:
    counts = LostDemandCounts(most=10)
    counts.count([{"sku": "HOT", "requested": 3}])
    for round_ in range(5):
        counts.count([{"sku": "HOT", "requested": 3}])
        counts.count([{"sku": f"COLD-{round_}-{n}", "requested": 1} for n in range(50)])
    assert len(counts._counts) <= 20
    first = counts.busiest()[0]
    assert (first.sku, first.requests, first.units) == ("HOT", 6, 18)
    assert len(counts.busiest()) == 10
    assert (counts.lines, counts.units) == (256, 268)


def test_quantiles_are_the_upper_bounds_of_their_buckets() -> None:
    empty = [0] * (len(LATENCY_BOUNDS_S) + 1)
    assert quantiles_ms([empty]) == {}
    assert quantiles_ms([]) == {}
    one, two = list(empty), list(empty)
    one[0], two[3] = 90, 9
    two[-1] = 1
    assert quantiles_ms([one, two]) == {"p50": 0.5, "p95": 5.0, "p99": 5.0}
    two[-1] = 2
    assert quantiles_ms([one, two])["p99"] == 10_000


def test_without_a_board_everything_is_unknown_and_nothing_guessed() -> None:
    parts = dict.fromkeys(
        (
            "redis",
            "postgres",
            "flusher",
            "configuration",
            "worker",
            "sweeper",
            "ledger",
            "back_pressure",
            "memory",
            "replicas",
        ),
        "unknown",
    )
    fleet = put_together(None, None, Readiness(epoch=1, journal_lag_events=None, **parts), (0, 0))
    assert (fleet.processes, fleet.lost_demand, fleet.latency_ms) == ((), (), {})
    assert fleet.journal_lag_events is fleet.journal_lag_s is fleet.sweep_lag_s is fleet.batch_ms is None


def test_many_who_ask_at_once_cost_one_look(one_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = one_shop.running.app.cold.state.fleet
    looks = 0
    look = reader._look

    async def counted() -> Fleet:
        nonlocal looks
        looks += 1
        return await look()

    monkeypatch.setattr(reader, "_look", counted)

    async def ask() -> list[Fleet]:
        await asyncio.sleep(0.6)  # longer than a look is shared
        return await asyncio.gather(*(reader.read() for _ in range(50)))

    one_shop.running.run(ask)
    assert looks == 1
