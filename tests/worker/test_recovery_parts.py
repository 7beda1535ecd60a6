"""The parts of a recovery that are easily forgotten: its lock while it is slow, a journal alone, and its company."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from engine.fenced import FenceLost, StateFacts
from persistence.recovery_ledger import RecoveryLedger
from runtime.embedded_redis import EmbeddedRedis
from tests.waiting import eventually
from tests.worker.conftest import RunningFlusher
from tests.worker.recovering_shop import KEYS, RecoveringShop
from worker import recovery as recovery_module
from worker.flusher import Flusher, FlusherSettings


@pytest.fixture
async def shop(make_redis: Callable[..., EmbeddedRedis], database_url: str) -> AsyncIterator[RecoveringShop]:
    shop = RecoveringShop(make_redis(appendfsync="always"), database_url)
    yield shop
    await shop.close()


async def test_every_part_of_a_rebuild_keeps_its_lock(shop: RecoveringShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres ends a lock that gives no sign for 15 s: a part that gives none could never be got through."""
    monkeypatch.setattr(recovery_module, "_KEEP_EVERY_S", 0.0)
    lock = RecoveryLedger.lock
    part, signs = "before", Counter[str]()

    @contextmanager
    def counting(self: RecoveryLedger, wait_s: float) -> Iterator[Callable[[], None]]:
        with lock(self, wait_s) as keep:

            def counted() -> None:
                signs[part] += 1
                keep()

            yield counted

    def passed(step: str) -> None:
        nonlocal part
        part = step

    monkeypatch.setattr(RecoveryLedger, "lock", counting)
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    for number in range(20):
        held = await shop.hold(engine, f"S{number % 6}", 1, key=f"k-{number}")
        if number % 2:
            await engine.release(held.id, caller="shop")
    recovery = shop.recovery(passed=passed)
    recovery.rebuild("asked for")
    recovery.close()
    for step, what in {
        "after_fence": "flushing the journal",
        "after_drain": "wiping",
        "after_wipe": "reading the archive",
    }.items():
        assert signs[step], what


@pytest.mark.parametrize("kept", ["the whole journal", "nothing of it"])
async def test_a_verdict_that_takes_long_keeps_the_lock(
    shop: RecoveringShop, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """A journal of hours is looked through for one entry, and every counter compared: neither may outlast the lock."""
    monkeypatch.setattr(recovery_module, "_KEEP_EVERY_S", 0.0)
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    # Without the entry that the ledger ends with nothing tells at once that this is its Redis.
    shop.sql("DELETE FROM journal_archive")
    if kept == "nothing of it":
        with shop.client() as client:
            client.xtrim(KEYS.journal, maxlen=0, approximate=False)
    shop.restart()
    lock, real = RecoveryLedger.lock, recovery_module.Recovery._fence
    signs = signs_before_fence = 0

    @contextmanager
    def counting(self: RecoveryLedger, wait_s: float) -> Iterator[Callable[[], None]]:
        with lock(self, wait_s) as keep:

            def counted() -> None:
                nonlocal signs
                signs += 1
                keep()

            yield counted

    def fence(self: recovery_module.Recovery, facts: StateFacts) -> StateFacts:
        nonlocal signs_before_fence
        signs_before_fence = signs
        return real(self, facts)

    monkeypatch.setattr(RecoveryLedger, "lock", counting)
    monkeypatch.setattr(recovery_module.Recovery, "_fence", fence)

    assert shop.recover().epoch == 2

    # A look at the one chunk of the journal, or one at each of six SKUs, here and there.
    assert signs_before_fence >= (1 if kept == "the whole journal" else 12)


@pytest.mark.parametrize("epoch", ["that the ledger knows", "that has just begun"])
async def test_a_journal_whose_meta_is_gone_is_flushed_before_it_is_wiped(shop: RecoveringShop, epoch: str) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    if epoch == "that has just begun":
        shop.restart()
        engine = await shop.open_engine(shop.recover())
    began = shop.cursor()[0]
    kept = await shop.hold(engine, "S1", 3)
    before = shop.picture()
    with shop.client() as client:
        client.delete(KEYS.meta)
    admitted = shop.recover()
    assert (admitted.epoch, shop.picture()) == (began + 1, before)
    engine = await shop.open_engine(admitted)
    assert (await engine.confirm(kept.id, caller="shop")).status == "COMPLETED"
    shop.flush()
    shop.check()


async def test_a_flusher_that_noticed_nothing_follows_the_new_epoch(shop: RecoveringShop, database_url: str) -> None:
    """It meets entries of an epoch that it has not heard of: not a break, a recovery has been there."""
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    # A halt would last until the test's end.
    deaf = FlusherSettings(tick_ms=1, block_ms=20, report_every_ms=600_000, halted_retry_ms=600_000)
    running = RunningFlusher(Flusher(shop.server.url, database_url, deaf))
    try:
        await eventually(lambda: shop.cursor() == (1, 12), timeout_s=30, what="the ledger")
        recovery = shop.recovery()
        admitted = await asyncio.to_thread(recovery.rebuild, "asked for")
        recovery.close()
        engine = await shop.open_engine(admitted)
        await shop.hold(engine, "S1", 3)
        await eventually(lambda: shop.cursor() == (2, 1), timeout_s=60, what="the ledger in the new epoch")
        assert running.status.state == "running"
    finally:
        running.stop()
    shop.check()


async def test_an_admission_that_was_overtaken_refuses_nothing(shop: RecoveringShop) -> None:
    """Stopped while it flushes the journal; meanwhile another has done it all, and the ledger is in another epoch."""
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    await shop.hold(engine, "S0", 2)
    before = shop.picture()
    shop.restart()

    def overtake(step: str) -> None:
        if step == "after_fence":
            shop.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'holdfast recovery%' AND datname = current_database()"
            )
            shop.recover()

    with pytest.raises(FenceLost):
        shop.recover(passed=overtake)
    assert shop.state() == ("OPEN", "", 0)
    assert (shop.cursor(), shop.picture()) == ((2, 0), before)


async def test_what_stands_in_the_way_of_a_rebuild_is_told(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    before = shop.picture()
    with shop.client() as client:
        client.flushall()
        client.config_set("maxmemory", "1mb")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            shop.recover()
        state, reason, _ = shop.state()
        assert (state, "OutOfMemoryError" in reason) == ("REBUILDING", True)
        client.config_set("maxmemory", "0")
    assert shop.recover().epoch == 2
    assert (shop.picture(), shop.state()) == (before, ("OPEN", "", 1))
