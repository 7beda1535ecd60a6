"""The orders stream: each event once in effect, whatever is repeated, killed, reordered or nonsense."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inventory.context import Inventory
from tests.waiting import eventually
from tests.worker.orders_shop import STREAM, open_shop, quick
from tests.worker.orders_shop import OrdersShop as Shop
from worker.flusher import FlusherStatus
from worker.metrics import WorkerCollector
from worker.order_stream import ACTOR, OrderStream

NEVER = "0" * 36


@pytest.fixture
async def shop(
    redis_url: str, database_url: str, known_keys: list[str], start_flusher: Callable[..., Any]
) -> AsyncIterator[Shop]:
    known_keys.append(STREAM)
    async with open_shop(redis_url, database_url) as shop:
        start_flusher()
        yield shop


@pytest.fixture
async def consume(shop: Shop, redis_url: str) -> AsyncIterator[Callable[..., OrderStream]]:
    """`consume(**settings)`: a consumer that runs until the test ends."""
    stop = asyncio.Event()
    running: list[asyncio.Task[None]] = []

    def start(**more: Any) -> OrderStream:
        stream = OrderStream(shop.inventory, quick(more.pop("redis_url", redis_url), **more))
        running.append(asyncio.create_task(stream.run(stop)))
        return stream

    yield start
    stop.set()
    for task in running:
        await task


async def test_an_order_is_sold_and_put_back(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    a, b = await shop.sku("A"), await shop.sku("B")
    shop.created("o-1", await shop.hold(a, 2), await shop.hold(b, 1))
    stream = consume()
    await shop.all_done()
    assert shop.movements("o-1") == [("OUT", a, -2, ACTOR), ("OUT", b, -1, ACTOR)]
    shop.cancelled("o-1", reason="changed his mind")
    await eventually(lambda: stream.status.applied == 2)
    await shop.all_done()
    assert sorted(shop.movements("o-1")[2:]) == [("IN", a, 2, ACTOR), ("IN", b, 1, ACTOR)]
    assert shop.rows("SELECT DISTINCT reason FROM inventory_transactions WHERE transaction_type = 'IN' AND reference_id"
                     " = 'o-1'") == [("changed his mind",)]  # fmt: skip
    assert (await shop.level(a), await shop.level(b)) == ((10, 0), (10, 0))
    assert shop.dead() == []
    assert stream.status.in_flight == 0


async def test_told_ten_times(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    sku = await shop.sku("A")
    held = await shop.hold(sku, 2)
    for _ in range(10):
        shop.created("o-1", held)
    consume()
    await shop.all_done()
    for _ in range(10):
        shop.cancelled("o-1")
    await shop.all_done()
    assert [row[:3] for row in shop.movements("o-1")] == [("OUT", sku, -2), ("IN", sku, 2)]
    assert shop.dead() == []


async def test_many_orders_at_once_each_in_its_own_order(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    sku = await shop.sku("A", 1000)
    for number in range(60):
        shop.created(f"o-{number}", await shop.hold(sku, 2))
        if number % 3 == 0:
            shop.cancelled(f"o-{number}")
    first, second = consume(), consume()
    await shop.all_done()
    assert await shop.level(sku) == (1000 - 40 * 2, 0)
    assert shop.dead() == []
    assert first.status.applied + second.status.applied >= 80
    # Whoever cancels finds the order: nothing had to be postponed for long by a single consumer.
    assert shop.rows("SELECT count(*)::int FROM inventory_transactions WHERE transaction_type = 'IN'") == [(21,)]


async def test_flat_fields(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    sku = await shop.sku("A")
    ids = [await shop.hold(sku) for _ in range(4)]
    fields = {"type": "order.created", "order_id": "o-1", "reservation_ids": f"{ids[0]}, {ids[1]}"}
    shop.client.xadd(STREAM, fields)  # type: ignore[arg-type]
    shop.client.xadd(STREAM, {**fields, "order_id": "o-2", "reservation_ids": json.dumps(ids[2:])})
    consume()
    await shop.all_done()
    shop.client.xadd(STREAM, {"type": "order.cancelled", "order_id": "o-2", "reason": "no more room"})
    await shop.all_done()
    assert await shop.level(sku) == (8, 0)
    assert shop.dead() == []


def created(**more: Any) -> str:
    return json.dumps({"type": "order.created", "order_id": "o", "reservation_ids": [NEVER], **more})


POISON: list[tuple[dict[str, Any], str]] = [
    ({"event": b""}, "malformed-json"),
    ({"event": b"{"}, "malformed-json"),
    ({"event": b"\xff\xfe\x00"}, "malformed-json"),
    ({"event": b"[" * 100_000}, "malformed-json"),
    ({"event": created()[:-1] + ', "order_id": "p"}'}, "malformed-json"),
    ({"event": "null"}, "validation-error"),
    ({"event": created(order_id="a\x00b")}, "validation-error"),
    ({"event": '{"type":"order.cancelled","order_id":"\\ud800"}'}, "validation-error"),
    ({"event": created(order_id="x" * 256)}, "validation-error"),
    ({"event": created(reservation_ids=[])}, "validation-error"),
    ({"event": created(reservation_ids=[NEVER] * 1001)}, "validation-error"),
    ({"event": created(reservation_ids=[1])}, "validation-error"),
    ({"event": created(type="order.shipped")}, "validation-error"),
    ({"event": created(extra=1)}, "validation-error"),
    ({"event": '{"type":"order.cancelled","order_id":"o","reason":"' + "x" * 501 + '"}'}, "validation-error"),
    ({"event": created()}, "unknown-reservation"),
    ({"event": created(reservation_ids=["nonsense"])}, "unknown-reservation"),
    ({"event": b'{"a":"' + b"x" * 2_000_000 + b'"}'}, "validation-error"),
    ({"something": "else"}, "validation-error"),
    ({"type": "order.created", "order_id": b"\xff", "reservation_ids": NEVER}, "validation-error"),
    ({"type": "order.created", "order_id": "o", "reservation_ids": "[1,"}, "validation-error"),
    ({"type": "order.created", "order_id": "o", "colour": "red"}, "validation-error"),
]


async def test_poison_is_set_aside_and_the_rest_flows_on(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    sku = await shop.sku("A")
    expected = {}
    for fields, code in POISON:
        expected[shop.client.xadd(STREAM, fields).decode()] = code  # type: ignore[union-attr]
    gone = await shop.hold(sku)
    await shop.inventory.engine.release(gone)
    expected[shop.created("o-2", gone)] = "reservation-not-active"
    late = await shop.hold(sku, ttl_ms=1_000)
    sold = await shop.hold(sku)
    shop.created("o-3", sold)
    expected[shop.created("o-4", sold)] = "reservation-not-active"
    stream = consume(at_a_time=1, max_in_flight=1)
    await shop.all_done()
    await eventually(lambda: shop.rows("SELECT 1 FROM stock_reservations WHERE expires_at < now() AND id = %s", late))
    expected[shop.created("o-5", late)] = "reservation-expired"
    await shop.all_done()
    assert {stream_id: code for stream_id, code, _ in shop.dead()} == expected
    assert stream.status.dead == len(expected)
    assert [row[:3] for row in shop.movements("o-3")] == [("OUT", sku, -1)]
    assert (await shop.level(sku))[0] == 9


async def test_cancelled_before_created(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    sku = await shop.sku("A")
    held = await shop.hold(sku, 3)
    shop.cancelled("o-1")
    stream = consume(unknown_order_delays_ms=(50,) * 100)
    await eventually(lambda: stream.status.postponed == 1)
    shop.created("o-1", held)
    await shop.all_done()
    assert [row[:3] for row in shop.movements("o-1")] == [("OUT", sku, -3), ("IN", sku, 3)]
    assert shop.dead() == []


async def test_an_order_that_stays_unknown_keeps_nobody_waiting(
    shop: Shop, consume: Callable[..., OrderStream]
) -> None:
    sku = await shop.sku("A")
    stream = consume(unknown_order_delays_ms=(3_600_000,), max_in_flight=2, max_postponed=5)
    for number in range(6):
        shop.cancelled(f"never-{number}")
    await eventually(lambda: stream.status.postponed == 5)
    # The sixth finds no room among those that wait.
    await eventually(lambda: [code for _, code, _ in shop.dead()] == ["unknown-order"])
    shop.created("o-1", await shop.hold(sku))
    await eventually(lambda: shop.movements("o-1"))


async def test_an_order_that_stays_unknown_is_set_aside(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    stream_id = shop.cancelled("never")
    consume()
    await shop.all_done()
    assert shop.dead() == [(stream_id, "unknown-order", 1)]


async def test_a_sale_to_a_cancelled_order_is_set_aside(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    sku = await shop.sku("A")
    first, second = await shop.hold(sku), await shop.hold(sku)
    shop.created("o-1", first)
    shop.cancelled("o-1")
    shop.created("o-1", first)
    late = shop.created("o-1", first, second)
    consume()
    await shop.all_done()
    assert shop.dead() == [(late, "order-cancelled", 1)]
    assert await shop.level(sku) == (10, 1)


async def test_a_bug_sets_aside_one_entry_and_not_the_worker(
    shop: Shop, consume: Callable[..., OrderStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker import order_stream

    sku = await shop.sku("A")
    real, calls = order_stream.report_order, []

    async def broken(inventory: Inventory, reporter: Any, event: Any) -> Any:
        if event.order_id == "o-1":
            calls.append(event)
            raise ZeroDivisionError
        return await real(inventory, reporter, event)

    monkeypatch.setattr(order_stream, "report_order", broken)
    bad = shop.created("o-1", NEVER)
    shop.created("o-2", await shop.hold(sku))
    consume()
    await shop.all_done()
    assert shop.dead() == [(bad, "internal-error", 1)]
    assert len(calls) == 3
    assert len(shop.movements("o-2")) == 1


async def test_other_readers_of_the_stream_lose_nothing(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    sku = await shop.sku("A")
    shop.client.xgroup_create(STREAM, "mailer", "0", mkstream=True)
    stream = consume()
    for number in range(3):
        shop.created(f"o-{number}", await shop.hold(sku))
    await eventually(lambda: stream.status.applied == 3 and stream.status.lag_entries == 0)
    read: Any = shop.client.xreadgroup("mailer", "m", {STREAM: ">"})
    assert len(read[0][1]) == 3
    assert shop.client.xlen(STREAM) == 3
    shop.client.xack(STREAM, "mailer", *[stream_id for stream_id, _ in read[0][1][:2]])
    await eventually(lambda: shop.client.xlen(STREAM) == 1)
    shop.client.xack(STREAM, "mailer", read[0][1][2][0])
    await eventually(lambda: shop.client.xlen(STREAM) == 0)
    assert stream.status.dead == 0


async def test_the_stream_may_be_something_else(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    shop.client.set(STREAM, "a string")
    stream = consume()
    await eventually(lambda: stream.status.waiting)
    shop.client.delete(STREAM)
    sku = await shop.sku("A")
    shop.created("o-1", await shop.hold(sku))
    await eventually(lambda: shop.movements("o-1"))
    assert not stream.status.waiting


async def test_its_numbers_are_on_the_page(shop: Shop, consume: Callable[..., OrderStream]) -> None:
    stream = consume()
    shop.created("o-1", await shop.hold(await shop.sku("A")))
    shop.tell("nonsense")
    await shop.all_done()
    collector = WorkerCollector(FlusherStatus, lambda: None, lambda: stream.status)
    numbers = {metric.name: metric.samples[0].value for metric in collector.collect()}
    assert (numbers["holdfast_orders_applied"], numbers["holdfast_orders_dead_letters"]) == (1.0, 1.0)
    assert numbers["holdfast_orders_waiting"] == numbers["holdfast_orders_postponed"] == 0.0
    shop.client.xadd(STREAM, {"event": "x"})
    await eventually(lambda: stream.status.dead == 2 and stream.status.lag_entries == 0)
