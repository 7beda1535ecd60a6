"""From the journal to alerts: real events of the engine, handed over in batches, read back from Postgres."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from msgspec import json, structs

from engine import Configure, Engine, JournalState, StockLevel
from engine.events import Released
from inventory.alerts.alert_desk import delivered, list_alerts, resolve
from inventory.alerts.check import check_alerts
from inventory.refusals import UnknownAlert
from inventory.rules import AlertRules
from persistence.queries.alerts import AlertFilter, forget
from tests.inventory.alerts.conftest import Shop
from tests.waiting import eventually

LOW, OUT = "LOW_STOCK", "OUT_OF_STOCK"


async def test_a_reserve_below_the_threshold_raises_one_alert(shop: Shop) -> None:
    await shop.product("A", 12, 10)
    await shop.follow()
    assert shop.alerts() == []
    await shop.hold("A", 3)
    await shop.follow()
    await shop.hold("A", 1)
    await shop.follow()
    assert shop.alerts() == [(LOW, "PENDING", "open")]
    assert shop.told() == ["stock.low"]
    ((data,),) = shop.rows("SELECT data FROM announcements")
    assert json.decode(data) == {
        "alert_id": shop.rows("SELECT id FROM alerts")[0][0],
        "sku": "A",
        "state": "LOW_STOCK",
        "available": 9,
        "low_stock_threshold": 10,
        "sell_out_seconds": None,
    }


async def test_safety_stock_counts_as_gone(shop: Shop) -> None:
    await shop.product("A", 12, 10, safety=4)
    await shop.product("B", 5, 0, safety=5)
    await shop.follow()
    assert shop.alerts("A") == [(LOW, "PENDING", "open")]
    assert shop.alerts("B") == [(OUT, "PENDING", "open")]


async def test_out_within_a_batch_and_back_is_both_told(shop: Shop) -> None:
    await shop.product("A", 5, 0)
    await shop.follow()
    held = await shop.hold("A", 5)
    await shop.engine.release(held)
    await shop.follow()
    assert shop.alerts() == [(OUT, "RESOLVED", "fading")]
    assert shop.told() == ["stock.out", "stock.back"]
    # Again and again: the same alert, and batches that lead back to where it was keep nothing and tell nothing.
    for _ in range(3):
        await shop.engine.release(await shop.hold("A", 5))
        await shop.follow()
    assert shop.alerts() == [(OUT, "RESOLVED", "fading")]
    assert len(shop.told()) == 2


async def test_a_batch_says_what_its_last_event_says(shop: Shop) -> None:
    await shop.product("A", 50, 10)
    held = [await shop.hold("A", 9) for _ in range(5)]
    for one in held:
        await shop.engine.release(one)
    await shop.hold("A", 45)
    await shop.adjust("A", 100)
    await shop.follow()
    assert shop.alerts() == []


async def test_a_delivery_resolves(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.adjust("A", 5)
    await shop.follow()
    assert shop.alerts() == []  # at the threshold
    await shop.adjust("A", -1)
    await shop.follow()
    await shop.adjust("A", 1)
    await shop.follow()
    assert shop.alerts() == [(LOW, "PENDING", "open")]
    await shop.adjust("A", 1)
    await shop.follow()
    assert shop.alerts() == [(LOW, "RESOLVED", "over")]
    assert shop.rows("SELECT resolved_by FROM alerts") == [("system",)]
    await shop.adjust("A", -11)
    await shop.follow()
    assert shop.alerts() == [(LOW, "RESOLVED", "over"), (OUT, "PENDING", "open")]
    assert shop.told() == ["stock.low", "stock.back", "stock.out"]


async def test_new_products_without_stock_are_no_news(shop: Shop) -> None:
    await shop.product("NEW", 0, 10)
    await shop.follow()
    await shop.product("NEW", 0, 20)
    await shop.follow()
    assert shop.alerts() == []
    await shop.adjust("NEW", 30)
    await shop.adjust("NEW", -30)
    await shop.follow()
    assert shop.alerts() == [(OUT, "PENDING", "open")]


async def test_changed_settings_are_judged_at_once(shop: Shop) -> None:
    await shop.product("A", 5, 0)
    await shop.follow()
    await shop.product("A", 0, 6)
    await shop.follow()
    assert shop.alerts() == [(LOW, "PENDING", "open")]
    await shop.product("A", 0, 0)
    await shop.follow()
    assert shop.alerts() == [(LOW, "RESOLVED", "over")]
    await shop.product("A", 0, 6)
    await shop.product("A", 0, 6, active=False)
    await shop.follow()
    assert len(shop.alerts()) == 1
    await shop.product("A", 0, 6)
    await shop.follow()
    assert [status for _, status, _ in shop.alerts()] == ["RESOLVED", "PENDING"]
    await shop.product("A", 0, 6, active=False)
    await shop.follow()
    assert [status for _, status, _ in shop.alerts()] == ["RESOLVED", "RESOLVED"]


async def test_the_same_events_again_change_nothing(shop: Shop) -> None:
    """A restart, or a second worker: nothing is kept in memory, so nothing is forgotten."""
    await shop.product("A", 12, 10)
    await shop.product("B", 5, 0)
    first = await shop.follow()
    await shop.hold("A", 3)
    await shop.hold("B", 5)
    second = await shop.follow()
    before = shop.rows("SELECT * FROM alerts ORDER BY id")
    for entries in (second, first, first + second):
        await shop.take(entries, shop.evaluator())
    assert shop.rows("SELECT * FROM alerts ORDER BY id") == before
    assert sorted(shop.told()) == ["stock.low", "stock.out"]


async def test_two_at_the_same_time_raise_one(shop: Shop) -> None:
    for number in range(20):
        await shop.product(f"S{number}", 1, 10)
    entries = shop.unread()
    await asyncio.gather(*(shop.take(entries, shop.evaluator()) for _ in range(4)))
    assert len(shop.alerts()) == 20
    assert shop.told() == ["stock.low"] * 20


async def test_a_batch_that_is_rolled_back_leaves_nothing(shop: Shop) -> None:
    await shop.product("A", 1, 10)
    entries = shop.unread()

    async def taken_back() -> None:
        async with shop.inventory.database.transaction() as transaction:
            await shop.evaluator().take(transaction, entries)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await taken_back()
    assert (shop.alerts(), shop.told()) == ([], [])


async def test_a_batch_that_changes_nothing_writes_nothing(shop: Shop) -> None:
    await shop.product("A", 100, 10)
    await shop.product("B", 5, 10)
    await shop.follow()
    await shop.hold("A", 50)
    await shop.hold("B", 1)
    entries = shop.unread()
    evaluator = shop.evaluator()
    async with shop.inventory.database.transaction() as transaction:
        await evaluator.take(transaction, entries)
        (written,) = (await transaction.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()")).one()
    assert written is None


async def test_lines_that_cannot_be_read_are_passed_over(shop: Shop) -> None:
    await shop.product("A", 1, 10)
    entries = shop.unread()
    broken = structs.replace(entries[0], events=(Released("x", "A=1=2,=,", ""), *entries[0].events))
    await shop.take([broken])
    assert shop.alerts() == [(LOW, "PENDING", "open")]


async def test_the_table_takes_no_second_open_alert(shop: Shop) -> None:
    await shop.product("A", 1, 10)
    await shop.follow()
    with pytest.raises(psycopg.errors.UniqueViolation):
        shop.rows(
            "INSERT INTO alerts (sku, kind, status, episode, available, threshold, raised_at, changed_at, partition,"
            " epoch, seq) VALUES ('A', 'LOW_STOCK', 'PENDING', 'open', 1, 10, now(), now(), 0, 1, 1)"
        )


async def test_resolved_by_hand(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.follow()
    ((number,),) = shop.rows("SELECT id FROM alerts")
    first = await resolve(shop.inventory, number, "key-1")
    again = await resolve(shop.inventory, number, "key-2")
    assert first == again
    assert (first.alert.status, first.alert.resolved_by) == ("RESOLVED", "key-1")
    await shop.hold("A", 1)
    await shop.follow()
    assert len(shop.alerts()) == 1
    await shop.hold("A", 4)
    await shop.follow()
    assert shop.alerts() == [(LOW, "RESOLVED", "over"), (OUT, "PENDING", "open")]
    for unknown in (0, -1, number + 100, 2**70):
        with pytest.raises(UnknownAlert):
            await resolve(shop.inventory, unknown, "key-1")


async def test_a_delivered_event_makes_it_notified(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.follow()
    ((data,),) = shop.rows("SELECT data FROM announcements")
    assert not await delivered(shop.inventory, "stock.back", data.encode())
    assert not await delivered(shop.inventory, "stock.low", b'{"other": 1}')
    assert not await delivered(shop.inventory, "reservation.created", b"{}")
    assert shop.alerts() == [(LOW, "PENDING", "open")]
    await shop.hold("A", 5)
    await shop.follow()
    # Late news of low is no news of out.
    assert not await delivered(shop.inventory, "stock.low", data.encode())
    assert shop.alerts() == [(OUT, "PENDING", "open")]
    data = shop.rows("SELECT data FROM announcements ORDER BY id DESC LIMIT 1")[0][0]
    assert await delivered(shop.inventory, "stock.out", data.encode())
    assert not await delivered(shop.inventory, "stock.out", data.encode())
    assert shop.alerts() == [(OUT, "NOTIFIED", "open")]
    await shop.adjust("A", 50)
    await shop.follow()
    assert not await delivered(shop.inventory, "stock.out", data.encode())
    assert shop.alerts() == [(OUT, "RESOLVED", "over")]


async def test_the_check_finds_what_no_event_tells(shop: Shop) -> None:
    """A store that had stock before there were alerts, and alerts that no longer hold."""
    await shop.product("LOW", 5, 10)
    await shop.product("GONE", 5, 0)
    await shop.product("FINE", 50, 10)
    await shop.product("NEVER", 0, 10)
    await shop.product("OFF", 5, 10, active=False)
    await shop.hold("GONE", 5)
    shop.rows(
        "INSERT INTO alerts (sku, kind, status, episode, available, threshold, raised_at, changed_at, partition,"
        " epoch, seq) VALUES ('FINE', 'LOW_STOCK', 'NOTIFIED', 'open', 1, 10, now(), now(), 0, 1, 0)"
    )
    report = await check_alerts(shop.inventory)
    assert (report.skus, report.judged, report.changed) == (5, 4, 3)
    assert shop.alerts("LOW") == [(LOW, "PENDING", "open")]
    assert shop.alerts("GONE") == [(OUT, "PENDING", "open")]
    assert shop.alerts("FINE") == [(LOW, "RESOLVED", "fading")]
    assert len(shop.alerts()) == 3
    assert (await check_alerts(shop.inventory)).changed == 0
    # What the check has seen is no news when the journal comes to it, nor does an older event undo it.
    await shop.follow()
    assert len(shop.alerts()) == 3
    assert len(shop.told()) == 3


async def test_checks_and_followers_at_once_agree_in_the_end(shop: Shop) -> None:
    for number in range(10):
        await shop.product(f"S{number}", 20, 10)
    evaluator = shop.evaluator(AlertRules(quiet_ms=0))
    inventory = shop.with_settings(alerts=AlertRules(quiet_ms=0))
    for _ in range(6):
        for number in range(10):
            await shop.adjust(f"S{number}", -15)
        half = shop.unread()
        for number in range(10):
            await shop.adjust(f"S{number}", 15)
        await asyncio.gather(check_alerts(inventory), shop.take(half, evaluator), check_alerts(inventory))
        await shop.follow(evaluator)
    for number in range(10):
        assert not [alert for alert in shop.alerts(f"S{number}") if alert[2] == "open"]


async def test_old_alerts_are_forgotten_open_and_muted_ones_never(shop: Shop) -> None:
    for sku in ("OVER", "OPEN", "MUTED", "NEW"):
        await shop.product(sku, 5, 10)
    await shop.follow()
    ids = {sku: number for number, sku in shop.rows("SELECT id, sku FROM alerts")}
    await resolve(shop.inventory, ids["MUTED"], "key-1")
    for sku in ("OVER", "NEW"):
        await shop.adjust(sku, 50)
    await shop.follow()
    shop.rows("UPDATE alerts SET resolved_at = resolved_at - interval '400 days' WHERE sku IN ('OVER', 'MUTED')")
    before = datetime.now(UTC) - timedelta(days=399)
    assert await forget(shop.inventory.database, before, 10) == 1
    assert await forget(shop.inventory.database, before, 10) == 0
    assert {sku for (sku,) in shop.rows("SELECT sku FROM alerts")} == {"OPEN", "MUTED", "NEW"}


class PausedEngine:
    """The engine, whose counters take their time to arrive once they have been read."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.read, self.go_on = asyncio.Event(), asyncio.Event()

    @property
    def epoch(self) -> int:
        return self.engine.epoch

    async def journal_state(self) -> JournalState:
        return await self.engine.journal_state()

    async def stock_levels(self, skus: list[str] | None) -> list[StockLevel]:
        levels = await self.engine.stock_levels(skus)
        if skus is not None:
            self.read.set()
            await self.go_on.wait()
        return levels


async def test_what_a_check_has_seen_is_not_older_than_what_was_followed(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    shop.unread()
    paused = PausedEngine(shop.engine)
    check = asyncio.create_task(check_alerts(structs.replace(shop.inventory, engine=paused)))
    await asyncio.wait([check, reading := asyncio.create_task(paused.read.wait())], return_when="FIRST_COMPLETED")
    assert reading.done(), "the check ended early"
    # The check knows of 5 units. What comes now would be passed before it says so, and never looked at again.
    await shop.adjust("A", 100)
    take = asyncio.create_task(shop.follow())
    waits = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    await eventually(lambda: take.done() or shop.rows(waits))
    paused.go_on.set()
    await asyncio.gather(check, take)
    assert shop.alerts() == [(LOW, "RESOLVED", "over")]


def sold(shop: Shop, sku: str, units: int, seconds_ago: float, seq: int, kind: str = "OUT") -> None:
    shop.rows(
        "INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition, epoch,"
        " line, sku, transaction_type, reference_type, reference_id, created_by)"
        " VALUES (%s, %s, 100000, 100000 + %s, clock_timestamp() - make_interval(secs => %s), 0, 1, 0, %s, %s, %s, '',"
        " 'x')",
        seq, units, units, seconds_ago, sku, kind, "Order" if kind == "OUT" else "Adjustment",
    )  # fmt: skip


async def test_the_time_until_it_is_sold_out(shop: Shop) -> None:
    for sku in ("SLOW", "YOUNG", "RUSH", "STILL", "BACK"):
        await shop.product(sku, 9, 10)
    sold(shop, "SLOW", 100, 90_000, 1, "IN")
    sold(shop, "SLOW", -40, 7200, 2)
    sold(shop, "SLOW", -18, 1800, 3)  # 18 in the last hour
    sold(shop, "YOUNG", 100, 600, 4, "IN")
    sold(shop, "YOUNG", -10, 300, 5)  # 10 in the ten minutes of its life
    shop.rows(  # 10 a second; the latest 500 rows tell it
        "INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition, epoch,"
        " line, sku, transaction_type, reference_type, reference_id, created_by) SELECT 100 + n, -1, 1000, 999,"
        " clock_timestamp() - make_interval(secs => 0.5 + n / 10.0), 0, 1, 0, 'RUSH', 'OUT', 'Order', '', 'x'"
        " FROM generate_series(1, 600) AS n"
    )
    sold(shop, "BACK", -5, 60, 6)
    sold(shop, "BACK", 5, 30, 7, "RETURN")
    await shop.follow()
    page = await list_alerts(shop.inventory, AlertFilter())
    found = {one.alert.sku: one.sell_out_seconds for one in page.items}
    assert found["STILL"] is None
    assert found["BACK"] is None
    assert found["SLOW"] == pytest.approx(9 / (18 / 3600), rel=0.02)
    assert found["YOUNG"] == pytest.approx(9 / (10 / 600), rel=0.1)
    assert found["RUSH"] in {0, 1}
    assert {one.available_now for one in page.items} == {9}
    stored = dict(shop.rows("SELECT sku, sell_out_seconds FROM alerts"))
    assert stored["SLOW"] == pytest.approx(1800, rel=0.02)


async def test_settings_of_a_sku_are_learnt_once_and_corrected_by_events(shop: Shop) -> None:
    asked: list[str] = []

    async def levels_of(skus: object) -> object:
        asked.extend(skus)  # type: ignore[arg-type]
        return await shop.engine.stock_levels(list(skus))  # type: ignore[call-overload]

    evaluator = shop.evaluator()
    evaluator._levels_of = levels_of  # type: ignore[assignment]
    await shop.product("A", 100, 10)
    await shop.follow(evaluator)
    for _ in range(3):
        await shop.hold("A", 1)
        await shop.follow(evaluator)
    assert asked == ["A"]
    await shop.engine.execute(Configure("A", 0, 99, True, 0, "tests"))
    await shop.follow(evaluator)
    assert asked == ["A"]
    assert shop.alerts() == [(LOW, "PENDING", "open")]
    await eventually(lambda: shop.told() == ["stock.low"])
