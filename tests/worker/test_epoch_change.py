"""Whoever follows the journal, over a change of epoch: event streams, alerts, webhooks, the stream of orders.

Each must see every event that the ledger has, once, in order, and the orders be carried out once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from engine import Configure
from inventory.context import Inventory, InventorySettings
from inventory.events.feed import EventFeed
from inventory.events.log import OLDEST, LoggedEvent
from inventory.rules import WebhookRules
from inventory.webhooks.subscriptions import create_webhook
from persistence.database import Database
from persistence.journal_entries import JournalEntry, read_entry
from runtime.embedded_redis import EmbeddedRedis
from tests.waiting import eventually
from tests.worker.orders_shop import STREAM, quick
from tests.worker.running_shop import RunningShop


@pytest.fixture
async def shop(make_redis: Callable[..., EmbeddedRedis], database_url: str) -> AsyncIterator[RunningShop]:
    shop = RunningShop(make_redis(appendfsync="always"), database_url)
    await shop.start()
    yield shop
    await shop.close()


@pytest.fixture
async def inventory(shop: RunningShop) -> AsyncIterator[Inventory]:
    database = Database(shop.database_url)
    rules = InventorySettings(webhooks=WebhookRules(allow_private=True))
    yield Inventory(shop.engine, database, shop.watermark, rules)
    await database.close()


class Listener:
    """Reads the feed from its beginning, as an event stream does."""

    def __init__(self, inventory: Inventory) -> None:
        self.events: list[LoggedEvent] = []
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._listen(EventFeed(inventory)))

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.events]

    async def _listen(self, feed: EventFeed) -> None:
        async with feed.reader(OLDEST) as reader:
            while not self._stop.is_set():
                self.events += await reader.next(0.2)

    async def stop(self) -> None:
        self._stop.set()
        await self._task


def ids_of_the_ledger(shop: RunningShop) -> list[str]:
    """Every event that the ledger has, in order."""
    found: list[str] = []
    for stream_id, body in shop.sql("SELECT stream_id, body FROM journal_archive ORDER BY epoch, last_seq"):
        entry = read_entry(stream_id, bytes(body))
        assert isinstance(entry, JournalEntry)
        found += [f"0-{entry.epoch}-{entry.first_seq + index}" for index in range(len(entry.events))]
    return found


async def trade(shop: RunningShop, prefix: str, orders: int = 6) -> list[str]:
    """Holds, some let go again, some amended, some sold by an event of the stream; the orders that were told."""
    told = []
    for number in range(orders):
        held = await shop.hold(shop.engine, f"S{number % 6}", 1)
        if number % 3 == 0:
            held = await shop.engine.amend(held.id, [(f"S{number % 6}", 2)], caller="shop")
        order = f"{prefix}-{number}"
        event = {"type": "order.created", "order_id": order, "reservation_ids": [held.id]}
        with shop.client() as client:
            client.xadd(STREAM, {"event": json.dumps(event)})
        told.append(order)
        released = await shop.hold(shop.engine, f"S{(number + 1) % 6}", 1)
        await shop.engine.release(released.id, caller="shop")
    # An alert, which comes into the journal from Postgres: the SKU becomes low.
    await shop.hold(shop.engine, f"low-{prefix}", 4)
    return told


@pytest.mark.parametrize("fault", ["flushall", "restart"])
async def test_followers_pass_an_epoch_change_without_gap_or_repeat(
    shop: RunningShop, inventory: Inventory, fault: str
) -> None:
    await shop.stock(shop.engine)
    for prefix in ("before", "meanwhile", "after"):
        await shop.engine.execute(Configure(f"low-{prefix}", 0, 3, True, 5, "admin"))
    await create_webhook(inventory, "http://127.0.0.1:8999/hook", ["*"], "admin")
    listener = Listener(inventory)
    shop.start_worker(orders=quick(shop.server.url))

    def sold(orders: list[str]) -> bool:
        found = shop.sql(
            "SELECT reference_id, count(*) FROM inventory_transactions WHERE reference_type = 'Order' GROUP BY 1"
        )
        return dict(found) == dict.fromkeys(orders, 1)

    def alerted(sku: str) -> bool:
        return bool(shop.sql("SELECT 1 FROM alerts WHERE sku = %s", sku))

    orders = await trade(shop, "before")
    await eventually(lambda: sold(orders), timeout_s=60, what="the orders")
    await eventually(lambda: alerted("low-before"), timeout_s=60, what="the alert")
    if fault == "flushall":
        with shop.client() as client:
            client.flushall()
    else:
        # Told but not yet done: the stream comes back with the server.
        orders += await trade(shop, "meanwhile")
        await asyncio.to_thread(shop.restart)
    await eventually(lambda: shop.engine.epoch == 2, timeout_s=60, what="the new epoch")
    await eventually(shop.serves, timeout_s=60, what="the engine to serve")
    orders += await trade(shop, "after")
    await eventually(lambda: sold(orders), timeout_s=60, what="the orders behind it")
    await eventually(lambda: alerted("low-after"), timeout_s=60, what="the alert behind it")

    def announced() -> bool:
        return not shop.sql("SELECT 1 FROM announcements WHERE announced_at IS NULL")

    await eventually(announced, timeout_s=60, what="the announcements", every_s=0.05)
    await shop.settled()
    ledger = ids_of_the_ledger(shop)
    assert {name.split("-")[1] for name in ledger} == {"1", "2"}
    assert len(set(ledger)) == len(ledger)
    delivered = "SELECT event_id FROM webhook_deliveries ORDER BY id"

    def told_all() -> bool:
        newest = ids_of_the_ledger(shop)[-1]
        return listener.ids[-1:] == [newest] and shop.sql(delivered)[-1:] == [(newest,)]

    await eventually(told_all, timeout_s=60, what="the listener and the webhook", every_s=0.1)
    await listener.stop()
    ledger = ids_of_the_ledger(shop)
    assert listener.ids == ledger
    # It was made after the first events: from there on all of them.
    sent = [name for (name,) in shop.sql(delivered)]
    assert sent == ledger[ledger.index(sent[0]) :]
    kinds = [event.type for event in listener.events]
    assert kinds.count("stock.low") == (2 if fault == "flushall" else 3)
    assert not shop.sql("SELECT 1 FROM order_dead_letters")
    shop.check()
