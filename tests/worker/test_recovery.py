"""Recovery: a Redis that is empty, older, diverged or restarted is found before it serves a single command.

The numbers in names of tests are those of the failure modes in docs/recovery.md.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec import structs

from engine import Confirm, Engine, Expire, NotReady, Read, Release
from engine.identity import split_id
from persistence.database_url import psycopg_url
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.worker.recovering_shop import KEYS, RecoveringShop, Stopped, stop_at
from worker.failpoints import RECOVERY_STEPS
from worker.recovery import RecoveryRefused


@pytest.fixture
async def shop(make_redis: Callable[..., EmbeddedRedis], database_url: str) -> AsyncIterator[RecoveringShop]:
    """Open, nothing in it. `appendfsync always`: what is answered is in the file."""
    shop = RecoveringShop(make_redis(appendfsync="always"), database_url)
    yield shop
    await shop.close()


async def refused(engine: Engine) -> None:
    with pytest.raises(NotReady):
        await engine.availability(["S0"])


# -- starting


async def test_a_new_store_is_opened_in_the_first_epoch(shop: RecoveringShop) -> None:
    admitted = shop.recover()
    assert admitted.epoch == 1
    assert shop.recover() == admitted
    await shop.stock(await shop.open_engine(admitted))
    shop.flush()
    shop.check()
    assert shop.state() == ("OPEN", "", 0)


async def test_a_restart_begins_a_new_epoch_and_forgets_nothing(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    hold = await shop.hold(engine, "S1", 3)
    before = shop.picture()

    shop.restart()
    # Not flushed: what Redis has beyond the ledger goes into it before the new epoch begins.
    admitted = shop.recover()

    assert (admitted.epoch, shop.cursor()) == (2, (2, 0))
    assert shop.picture() == before
    engine = await shop.open_engine(admitted)
    await engine.confirm(hold.id, caller="shop")
    shop.flush()
    shop.check()
    assert shop.state() == ("OPEN", "", 0)


async def test_no_command_is_served_between_a_restart_and_its_admission(
    shop: RecoveringShop, eventually: Callable[..., object]
) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    with shop.client() as client:
        calls = "cmdstat_evalsha"
        shop.restart()
        await eventually(lambda: engine.connected and bool(engine.refusal), what="the engine to be back")  # type: ignore[misc]
        for _ in range(20):
            await refused(engine)
            with pytest.raises(NotReady):
                await engine.stock_levels()
        assert calls not in client.info("commandstats")

    admitted = shop.recover()
    await refused(engine)
    engine.admission.admit(admitted.epoch, admitted.run_id)
    assert [level.on_hand for level in await engine.availability(["S0"])] == [100]


# -- 4, 5, 6: what Redis has forgotten


async def test_6_an_emptied_redis_refuses_and_is_rebuilt_exactly(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    for number in range(40):
        await shop.hold(engine, f"S{number % 6}", 1 + number % 3)
    shop.flush()
    before = shop.picture()

    with shop.client() as client:
        client.flushall()
    await refused(engine)
    admitted = shop.recover()

    assert admitted.epoch == 2
    assert shop.picture() == before
    assert shop.state() == ("OPEN", "", 1)
    await refused(engine)
    engine.admission.admit(admitted.epoch, admitted.run_id)
    await shop.hold(engine, "S0", 1)
    shop.flush()
    shop.check()


async def test_4_a_redis_that_forgot_what_the_ledger_has_is_rebuilt(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    await shop.hold(engine, "S1", 3)
    size = shop.journal_file().stat().st_size
    kept = await shop.hold(engine, "S2", 5)
    shop.flush()
    before = shop.picture()

    shop.server.kill()
    os.truncate(shop.journal_file(), size)
    shop.server.start()
    with shop.client() as client:
        assert client.zcard(KEYS.deadlines) == 1
    admitted = shop.recover()

    assert (admitted.epoch, shop.picture()) == (2, before)
    engine = await shop.open_engine(admitted)
    assert (await engine.reservation(kept.id, caller="shop")).lines == (("S2", 5),)
    shop.check()


async def test_5_a_redis_with_another_history_under_the_same_numbers_is_rebuilt(shop: RecoveringShop) -> None:
    first = shop.recover()
    engine = await shop.open_engine(first)
    await shop.stock(engine)
    size = shop.journal_file().stat().st_size
    sold = await shop.hold(engine, "S2", 5)
    await engine.confirm(sold.id, caller="shop")
    shop.flush()
    before = shop.picture()

    shop.server.kill()
    os.truncate(shop.journal_file(), size)
    shop.server.start()
    # Somebody who asks nobody: as many events as the ledger has, and more, but others.
    careless = await shop.open_engine(structs.replace(first, run_id=""))
    for _ in range(4):
        await shop.hold(careless, "S3", 2)
    admitted = shop.recover()

    assert (admitted.epoch, shop.picture()) == (2, before)
    await refused(careless)
    shop.check()


async def test_a_state_without_its_meta_is_rebuilt(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    before = shop.picture()
    with shop.client() as client:
        client.delete(KEYS.meta)
        client.zadd(KEYS.deadlines, {"leftover": 1})
    assert shop.recover().epoch == 2
    assert shop.picture() == before


@pytest.mark.parametrize("field", ["epoch", "seq"])
async def test_a_meta_that_says_nonsense_is_as_good_as_lost(shop: RecoveringShop, field: str) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    before = shop.picture()
    shop.flush()
    with shop.client() as client:
        client.hset(KEYS.meta, field, "12 or so")
    assert shop.recover().epoch == 2
    assert shop.picture() == before


async def test_lost_counters_are_found_while_it_runs(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    before = shop.picture()
    await shop.hold(engine, "S1", 2)
    with shop.client() as client:
        client.delete(KEYS.stock)
    # The hold was acknowledged and is in the journal: it is flushed, and comes back.
    shop.recover()
    stock, deadlines, _ = shop.picture()
    assert stock["S1"] == "100 2 1 5 1"
    assert (len(deadlines), stock.keys()) == (1, before[0].keys())
    shop.check()


# -- 7: holds


async def test_7_every_verb_goes_on_with_the_holds_of_before(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    keyed = await shop.hold(engine, "S0", 2, key="k-1")
    amended = await shop.hold(engine, "S1", 2, key="k-2")
    await engine.amend(amended.id, [("S1", 4), ("S2", 1)], caller="shop")
    sold = await shop.hold(engine, "S3", 3, key="k-3")
    await engine.confirm(sold.id, order_id="o-1", caller="shop")
    partial = await engine.reserve(
        [("S4", 500)], customer_id="bob", caller="shop", idempotency_key="k-4", allow_partial=True
    )
    given_back = await shop.hold(engine, "S5", 1)
    late = await shop.hold(engine, "S5", 1, ttl_ms=1_000)
    changed = await shop.adjust(engine, "a-1")
    shop.flush()
    before = shop.picture()
    with shop.client() as client:
        client.flushall()

    admitted = shop.recover()
    engine = await shop.open_engine(admitted)
    assert shop.picture() == before

    # Keys meet what they made, also what was amended or sold since.
    assert await shop.hold(engine, "S0", 2, key="k-1") == keyed
    again = await shop.hold(engine, "S1", 2, key="k-2")
    assert (again.id, again.lines) == (amended.id, (("S1", 4), ("S2", 1)))
    assert (await shop.hold(engine, "S3", 3, key="k-3")).id == sold.id
    replayed = await engine.reserve(
        [("S4", 500)], customer_id="bob", caller="shop", idempotency_key="k-4", allow_partial=True
    )
    assert (replayed.id, replayed.lines) == (partial.id, partial.lines)
    repeated = await shop.adjust(engine, "a-1")
    assert (repeated.status, repeated.first_seq, repeated.first_epoch) == ("replayed", changed.first_seq, 1)
    assert repeated.movements == changed.movements

    # Every verb.
    assert (await engine.confirm(keyed.id, caller="shop")).status == "COMPLETED"
    assert (await engine.amend(amended.id, [("S1", 1)], caller="shop")).lines == (("S1", 1),)
    assert (await engine.release(amended.id, caller="shop")).status == "CANCELLED"
    assert (await engine.release(given_back.id, caller="shop")).status == "CANCELLED"
    assert (await engine.reservation(sold.id, caller="shop")).order_id == "o-1"
    engine.batcher.clock_ms = late.deadline_ms
    base, created = split_id(late.id)
    assert (await engine.execute(Expire(base, f"{late.id} S5=1"))).status == "ok"
    assert (await engine.execute(Confirm(((base, created),), owner="shop"))).status == "expired"
    assert (await engine.execute(Read(base, created, "another key"))).status == "unknown_reservation"
    assert (await engine.execute(Release(base, created, "shop"))).status == "expired"
    shop.flush()
    shop.check()


async def test_7_holds_that_fell_due_meanwhile_give_their_units_back(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine, skus=1, units=5)
    await shop.hold(engine, "S0", 4, ttl_ms=1_000)
    shop.flush()
    with shop.client() as client:
        client.flushall()
    # Longer ago than any record is kept: only the deadline is left, and it is enough.
    shop.sql("UPDATE stock_reservations SET expires_at = now() - interval '3 days'")
    engine = await shop.open_engine(shop.recover())

    await shop.hold(engine, "S0", 4)
    shop.flush()
    shop.check()
    assert dict(shop.sql("SELECT status, count(*) FROM stock_reservations GROUP BY status")) == {
        "ACTIVE": 1,
        "EXPIRED": 1,
    }


async def test_a_healthy_redis_is_the_same_after_a_rebuild_by_hand(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    for number in range(30):
        await shop.hold(engine, f"S{number % 6}", 1, key=f"k-{number}" if number % 2 else "")
    before = shop.picture()
    told: list[str] = []
    recovery = shop.recovery(progress=told.append)
    admitted = recovery.rebuild("asked for")
    recovery.close()
    assert (admitted.epoch, shop.picture()) == (2, before)
    assert told == ["rebuilding: asked for"]
    shop.check()


# -- crashes and company


@pytest.mark.parametrize("step", RECOVERY_STEPS)
async def test_a_kill_at_any_step_is_made_good_by_the_next(shop: RecoveringShop, step: str) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    for number in range(12):
        await shop.hold(engine, f"S{number % 6}", 2)
    before = shop.picture()

    killed = os.fork()
    if killed == 0:
        recovery = shop.recovery(passed=lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == step else None)
        recovery.rebuild("asked for")
        os._exit(0)
    _, status = os.waitpid(killed, 0)  # noqa: ASYNC222 - it kills itself
    assert os.WIFSIGNALED(status)

    if step not in {"before_fence", "after_reopen"}:
        with shop.client() as client:
            assert client.hget(KEYS.meta, "epoch") == b"0"
    admitted = shop.recover()
    assert shop.picture() == before
    assert shop.cursor()[0] == admitted.epoch
    assert shop.state()[:2] == ("OPEN", "")
    engine = await shop.open_engine(admitted)
    await shop.hold(engine, "S0", 1)
    shop.flush()
    shop.check()


@pytest.mark.parametrize("step", ["after_fence", "after_drain", "after_commit_epoch"])
async def test_a_crash_while_a_restarted_server_is_admitted(shop: RecoveringShop, step: str) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    await shop.hold(engine, "S0", 2)
    before = shop.picture()
    shop.restart()
    with pytest.raises(Stopped):
        shop.recover(passed=stop_at(step))
    shop.restart()
    shop.recover()
    assert shop.picture() == before
    shop.check()


async def test_of_many_that_look_at_once_one_rebuilds(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    with shop.client() as client:
        client.flushall()
    found = []
    threads = [threading.Thread(target=lambda: found.append(shop.recover())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 6
    assert len(set(found)) == 1
    assert shop.state() == ("OPEN", "", 1)


@pytest.mark.parametrize("at", ["after_holds", "after_commit_epoch"])
async def test_a_recovery_that_was_overtaken_writes_nothing_more(shop: RecoveringShop, at: str) -> None:
    """Stopped in the middle, its lock lost, gone on with after another has rebuilt everything."""
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    await shop.hold(engine, "S0", 2)

    def overtake(step: str) -> None:
        if step == at:
            shop.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'holdfast recovery%' AND datname = current_database()"
            )
            shop.recover()

    with pytest.raises(Exception, match="fence"):
        shop.recovery(passed=overtake).rebuild("asked for")
    shop.flush()
    shop.check()
    assert shop.state()[0] == "OPEN"


# -- what a person must decide


async def test_a_redis_of_a_later_epoch_is_refused_with_what_to_do(shop: RecoveringShop) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    with shop.client() as client:
        client.hset(KEYS.meta, "epoch", "9")
    before = shop.picture()
    with pytest.raises(RecoveryRefused, match="holdfast rebuild"):
        shop.recover()
    assert shop.state()[0] == "REFUSED"
    assert shop.picture() == before
    recovery = shop.recovery()
    assert recovery.rebuild("asked for").epoch == 10
    recovery.close()
    assert shop.picture() == before


@pytest.mark.parametrize(("field", "says"), [("schema", "schema 7"), ("partitions", "7 partitions")])
async def test_a_redis_of_another_make_is_refused(shop: RecoveringShop, field: str, says: str) -> None:
    shop.recover()
    with shop.client() as client:
        client.hset(KEYS.meta, field, "7")
    with pytest.raises(RecoveryRefused, match=says):
        shop.recover()


async def test_27_a_postgres_of_a_minute_ago_is_brought_up_from_the_journal(
    shop: RecoveringShop, postgres_server: EmbeddedPostgres
) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    await shop.hold(engine, "S0", 2)
    shop.flush()
    name = psycopg_url(shop.database_url).partition("?")[0].rpartition("/")[2]
    postgres_server.create_database("restored", template=name)
    now = shop.database_url
    try:
        for _ in range(10):
            await shop.hold(engine, "S1", 2)
        shop.flush()
        newest = shop.sql("SELECT id, status, lines FROM stock_reservations ORDER BY id")

        shop.database_url = postgres_server.database_url("restored")
        assert shop.recover().epoch == 1
        shop.flush()
        assert shop.sql("SELECT id, status, lines FROM stock_reservations ORDER BY id") == newest
        shop.check()
    finally:
        shop.database_url = now
        postgres_server.drop_database("restored")


async def test_27_a_gap_that_the_journal_does_not_cover_is_refused(
    shop: RecoveringShop, postgres_server: EmbeddedPostgres
) -> None:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    name = psycopg_url(shop.database_url).partition("?")[0].rpartition("/")[2]
    postgres_server.create_database("restored", template=name)
    now = shop.database_url
    try:
        for _ in range(5):
            await shop.hold(engine, "S1", 2)
        shop.flush()
        with shop.client() as client:
            client.xtrim(KEYS.journal, maxlen=2, approximate=False)
        shop.restart()
        shop.database_url = postgres_server.database_url("restored")
        with pytest.raises(RecoveryRefused, match="restore a newer copy of Postgres"):
            shop.recover()
        assert shop.state()[0] == "REFUSED"
    finally:
        shop.database_url = now
        postgres_server.drop_database("restored")
