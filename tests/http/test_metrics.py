"""/metrics: what Prometheus would read, of one process and of several, and what is left out when it cannot be known."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import redis
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from api import exposition
from api.metrics import Metrics, Snapshot
from engine.keys import partition_keys
from engine.tallies import SIZE_BOUNDS, BatchTally
from runtime.embedded_redis import EmbeddedRedis
from tests.http.conftest import Shop
from tests.http.running import RunningService
from tests.waiting import wait_until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families_of(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))


def samples_of(text: str) -> Samples:
    """(name, labels) -> value; each may be there once."""
    found: Samples = {}
    for family in families_of(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def text_of(metrics: Metrics) -> str:
    return exposition.render(exposition.counted(metrics.everybodys())).decode()


def scrape(shop: Shop) -> Samples:
    answer = shop.as_("nobody").get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples_of(answer.text)


def labelled(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def test_every_answer_is_counted(shop: Shop) -> None:
    client = shop.as_("storefront")
    asked = [("reserve", "201"), ("reserve", "404"), ("list_products", "403")]

    def counted() -> list[float]:
        found = scrape(shop)
        return [
            found.get(("holdfast_http_requests_total", labelled(endpoint=endpoint, status=status)), 0)
            for endpoint, status in asked
        ]

    before = counted()
    sku = shop.sku()
    shop.reserve(sku)
    client.post("/inventory/reserve", json={"customer_id": "a", "sku": "NOPE", "quantity": 1})
    client.get("/inventory/products")
    assert [after - b for after, b in zip(counted(), before, strict=True)] == [1, 1, 1]


def test_refusals_are_told_by_their_code_on_both_paths(shop: Shop) -> None:
    def problems() -> dict[tuple[str, str], float]:
        return {
            (dict(labels)["endpoint"], dict(labels)["code"]): value
            for (name, labels), value in scrape(shop).items()
            if name == "holdfast_http_problems_total"
        }

    before = problems()
    sku = shop.sku(1)
    body = {"customer_id": "ann", "sku": sku, "quantity": 2}
    client = shop.as_("storefront")
    assert client.post("/inventory/reserve", json=body).status_code == 409
    client.post("/inventory/reserve/batch", json={"reservations": [body, body, {**body, "sku": "NOPE"}]})
    assert shop.as_("auditor").get("/inventory/products/NOPE").status_code == 404
    grown = {key: value - before.get(key, 0) for key, value in problems().items() if value != before.get(key, 0)}
    assert grown == {
        ("reserve", "insufficient-stock"): 1,
        ("batch", "insufficient-stock"): 2,
        ("batch", "unknown-sku"): 1,
        ("get_product", "unknown-sku"): 1,
    }


def test_names_units_and_help_are_what_prometheus_expects(one_shop: Shop) -> None:
    families = families_of(one_shop.as_("nobody").get("/metrics").text)
    assert len(families) > 40
    for family in families:
        assert family.name.startswith("holdfast_"), family.name
        assert family.documentation, family.name
        assert not family.name.endswith(("_ms", "_millis", "_percent", "_mb", "_kb")), family.name
        assert family.type != "unknown", family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total")
            # A SKU, a reservation or a customer would make as many series as there are of them.
            labels = {"endpoint", "status", "code", "command", "process", "part", "task", "le", "version", "follower"}
            assert set(sample.labels) <= labels, sample


def test_what_the_stores_tell(one_shop: Shop) -> None:
    sku = one_shop.sku(10)

    def value(name: str, **labels: str) -> float:
        return scrape(one_shop)[name, labelled(**labels)]

    def holds() -> int:
        with redis.Redis.from_url(one_shop.running.redis_url) as client:
            return client.zcard(partition_keys(0).deadlines)

    held = one_shop.reserve(sku)
    # A look is shared by all who come within half a second.
    wait_until(lambda: value("holdfast_holds_live") == holds() > 0, 30, "the hold is seen")
    one_shop.as_("storefront").delete(f"/inventory/reserve/{held['id']}").raise_for_status()
    wait_until(lambda: value("holdfast_holds_live") == holds(), 30, "the hold has ended")
    assert value("holdfast_epoch") == 1
    assert value("holdfast_redis_up") == value("holdfast_postgres_up") == 1
    assert value("holdfast_redis_memory_used_bytes") > 100_000
    assert value("holdfast_redis_scripts_total") > 0
    assert value("holdfast_redis_script_seconds_total") > 0
    assert value("holdfast_webhook_deliveries", status="pending") >= 0
    # These tests run a flusher, but no worker around it.
    assert value("holdfast_worker_processes") == 0
    assert value("holdfast_part_ok", part="worker") == 0
    assert value("holdfast_part_ok", part="redis") == 1
    name = one_shop.running.app.metrics.process
    assert value("holdfast_postgres_pool_limit", process=name) == 10
    assert value("holdfast_process_resident_memory_bytes", process=name) > 10_000_000
    wait_until(lambda: value("holdfast_journal_lag_events") == 0, 30, "the ledger catches up")


def test_a_server_that_hangs_is_left_out_and_holds_nothing_up(
    make_service: Callable[..., RunningService], make_redis: Callable[..., EmbeddedRedis]
) -> None:
    server = make_redis()
    shop = Shop(make_service(redis=server.url), "protocol")
    assert ("holdfast_holds_live", ()) in scrape(shop)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        scrape(shop)
        # Ten seconds are what Prometheus waits by default; the look itself gives up after one and a half.
        assert time.monotonic() - began < 10
        found = wait_until(lambda: (s := scrape(shop))["holdfast_redis_up", ()] == 0 and s, 30, "it is seen")
        assert ("holdfast_holds_live", ()) not in found
        assert found["holdfast_postgres_up", ()] == 1
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    wait_until(lambda: scrape(shop)["holdfast_redis_up", ()] == 1, 30, "Redis is seen again")
    shop.close()


def test_processes_show_each_others_counters(tmp_path: Path) -> None:
    one, two = Metrics(tmp_path, "api-1"), Metrics(tmp_path, "api-2")
    for metrics, seconds in ((one, 0.0004), (two, 0.02), (two, 99.0)):
        metrics.endpoint("reserve").count(201, seconds)
    two.watch(BatchTally(), lambda: {"engine_queue_depth": 7})
    one.publish()
    two.publish()
    for metrics in (one, two):
        found = samples_of(text_of(metrics))
        assert found["holdfast_http_requests_total", labelled(endpoint="reserve", status="201")] == 3
        name = "holdfast_http_request_duration_seconds"
        assert found[f"{name}_bucket", labelled(endpoint="reserve", le="0.0005")] == 1
        assert found[f"{name}_bucket", labelled(endpoint="reserve", le="0.025")] == 2
        assert found[f"{name}_bucket", labelled(endpoint="reserve", le="+Inf")] == 3
        assert found[f"{name}_sum", labelled(endpoint="reserve")] == pytest.approx(99.0204)
        assert found["holdfast_engine_queue_depth", labelled(process="api-2")] == 7


def test_a_process_that_is_started_again_goes_on_counting(tmp_path: Path) -> None:
    other = Metrics(tmp_path, "api-2")
    for life in range(3):
        metrics = Metrics(tmp_path, "api-1")
        tally = BatchTally()
        metrics.watch(tally, dict)
        metrics.endpoint("reserve").count(201, 0.001)
        metrics.endpoint("reserve").refuse("insufficient-stock", {"shortages": [{"sku": "A", "requested": 4}]})
        tally.note([(object(), None)] * 3, [("ok",)] * 3, 0.002)
        metrics.publish()
        found = samples_of(text_of(other))
        assert found["holdfast_http_requests_total", labelled(endpoint="reserve", status="201")] == life + 1
        assert (
            found["holdfast_http_problems_total", labelled(endpoint="reserve", code="insufficient-stock")] == life + 1
        )
        assert found["holdfast_engine_batch_commands_count", ()] == life + 1
        assert found["holdfast_engine_batch_commands_sum", ()] == 3 * (life + 1)
        assert found["holdfast_lost_demand_units_total", ()] == 4 * (life + 1)
    (tmp_path / "api-1.json").write_text("not what we write")
    assert labelled(endpoint="reserve", status="201") not in {
        labels for name, labels in samples_of(text_of(other)) if name == "holdfast_http_requests_total"
    }
    assert samples_of(text_of(Metrics(tmp_path / "none-yet", "api-1")))  # a folder that is not there is no file
    assert Metrics(tmp_path, "api-1").snapshot().requests == {}


def test_the_state_of_a_process_that_is_gone_is_not_shown(tmp_path: Path) -> None:
    gone = Metrics(tmp_path, "api-1")
    gone.watch(BatchTally(), lambda: {"engine_queue_depth": 5})
    gone.endpoint("reserve").count(201, 0.001)
    old = Snapshot(
        process="api-1", at_s=time.time() - 60, requests={"reserve": {201: 1}}, durations={"reserve": [1] + [0] * 13},
        seconds={"reserve": 0.1}, state={"engine_queue_depth": 5},
    )  # fmt: skip
    (tmp_path / "api-1.json").write_bytes(msgspec.json.encode(old))
    (tmp_path / "worker.prom").write_text(
        "# TYPE holdfast_flusher_up gauge\n# HELP holdfast_flusher_up x\nholdfast_flusher_up 1.0\n"
        "# TYPE holdfast_flushes_total counter\n# HELP holdfast_flushes_total x\nholdfast_flushes_total 9.0\n"
    )
    shown = samples_of(
        exposition.render([*exposition.counted(Metrics(tmp_path, "api-2").everybodys()),
                           *exposition.left_by_workers(tmp_path)]).decode()
    )  # fmt: skip
    assert ("holdfast_engine_queue_depth", labelled(process="api-1")) not in shown
    assert shown["holdfast_http_requests_total", labelled(endpoint="reserve", status="201")] == 1
    assert shown["holdfast_flusher_up", ()] == 1
    os.utime(tmp_path / "worker.prom", (time.time() - 60, time.time() - 60))
    shown = samples_of(exposition.render(exposition.left_by_workers(tmp_path)).decode())
    assert shown == {("holdfast_flushes_total", ()): 9}


def test_the_histogram_of_batch_sizes_has_a_bucket_for_every_size() -> None:
    tally = BatchTally()
    for size in (1, 2, 3, SIZE_BOUNDS[-1], SIZE_BOUNDS[-1] + 1):
        tally.note([(object(), None)] * size, [("ok",)] * size, 0.001)
    metrics = Metrics()
    metrics.watch(tally, dict)
    found = samples_of(text_of(metrics))
    bucket = "holdfast_engine_batch_commands_bucket"
    assert [found[bucket, labelled(le=le)] for le in ("1", "2", "4", "1024", "+Inf")] == [1, 2, 3, 4, 5]
