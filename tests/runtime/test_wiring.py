"""The settings reach the part that they are about, in its unit."""

from __future__ import annotations

from runtime.settings import load_settings
from runtime.store import OpenedStore, given_keys
from runtime.wiring import api_settings, engine_settings, inventory_settings, worker_settings

STORE = OpenedStore("unix:///r", "postgresql:///d", "Valkey 9", "PostgreSQL 18", 7, "run", ())


def test_the_engine_gets_milliseconds_and_the_epoch() -> None:
    settings = load_settings(retention_seconds=60, idempotency_window_seconds=120, engine_links=3, max_queue=500)
    engine = engine_settings(settings, 7, "run")
    assert (engine.epoch, engine.run_id) == (7, "run")
    assert (engine.retention_ms, engine.idempotency_window_ms) == (60_000, 120_000)
    assert (engine.links, engine.max_queue) == (3, 500)


def test_only_who_answers_requests_waits_for_replicas() -> None:
    settings = load_settings(
        redis_url="redis://store", durability="replicated", replicas=2, replica_timeout_ms=300, engine_links=3
    )
    engine = engine_settings(settings, 7, "run", serves=True)
    assert (engine.replicas, engine.replica_timeout_ms) == (2, 300)
    assert engine_settings(settings, 7, "run").replicas == 0
    assert worker_settings(settings, STORE).engine.replicas == 0
    api = api_settings(settings, None)
    assert (api.durability, api.replicas, api.durabilities) == ("replicated", 2, ("journal", "replicated", "ledger"))


def test_the_api_gets_its_promises_and_limits() -> None:
    settings = load_settings(
        durability="ledger", late_confirm="if-available", ledger_timeout_seconds=3, max_body_bytes=2048, access_log=True
    )
    api = api_settings(settings, None)
    assert (api.durability, api.late_confirm, api.ledger_timeout_s) == ("ledger", True, 3.0)
    assert (api.max_body_bytes, api.max_batch_body_bytes, api.access_log) == (2048, 16_384, True)
    assert not api_settings(load_settings(), None).late_confirm


def test_the_inventory_service_gets_the_shops_rules() -> None:
    settings = load_settings(
        approval_units=25, approval_expiry_hours=2, ledger_timeout_seconds=3, late_confirm="if-available"
    )
    rules = inventory_settings(settings)
    assert (rules.approval_units, rules.approval_expiry_s) == (25, 7200)
    assert (rules.ledger_timeout_s, rules.late_confirm) == (3.0, True)
    plain = inventory_settings(load_settings())
    assert (plain.approval_units, plain.approval_expiry_s) == (1000, 72 * 3600)


def test_the_worker_gets_both_urls_and_every_limit() -> None:
    settings = load_settings(
        journal_keep_seconds=5,
        journal_keep_mb=2,
        flush_tick_ms=50,
        flush_max_events=77,
        sweep_interval_ms=30,
        shutdown_grace_seconds=4,
        metrics_port=9400,
    )
    worker = worker_settings(settings, STORE)
    assert (worker.redis_url, worker.database_url, worker.engine.epoch) == ("unix:///r", "postgresql:///d", 7)
    flusher = worker.flusher
    assert (flusher.keep_ms, flusher.keep_bytes, flusher.tick_ms) == (5000, 2 * 1024 * 1024, 50)
    assert (flusher.flush_events, flusher.drain_ms) == (77, 4000)
    assert (worker.sweeper.interval_ms, worker.metrics_port) == (30, 9400)
    assert worker_settings(load_settings(), STORE).metrics_port is None


def test_bootstrap_keys_are_given_both_or_not_at_all() -> None:
    both = load_settings(admin_key="a" * 24, storefront_key="b" * 24)
    keys = given_keys(both)
    assert keys is not None
    assert (keys.admin_key, keys.storefront_key) == ("a" * 24, "b" * 24)
    assert given_keys(load_settings(admin_key="a" * 24)) is None
