"""The feed: every event once, in sequence, whoever reads how fast, from wherever, through whatever happens to Redis."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
import redis

from engine import Engine, EngineSettings
from engine.bootstrap import open_partition
from engine.commands import Adjust, Confirm, Release, Reserve, lines_text
from engine.errors import Unavailable
from engine.events import SCHEMA
from engine.identity import random_base
from engine.keys import partition_keys
from inventory.context import Inventory
from inventory.events import log
from inventory.events.feed import EventFeed, Reader
from inventory.events.log import LoggedEvent
from inventory.events.outgoing import outgoing_events
from inventory.events.tail import TailSettings
from inventory.refusals import EventsGone
from persistence.queries.journal_archive import Position
from runtime.embedded_redis import EmbeddedRedis
from tests.inventory.events.conftest import Sql, archived, product
from tests.waiting import eventually

KEYS = partition_keys(0)


async def read(reader: Reader, events: int) -> list[LoggedEvent]:
    """So many events, or more when they come together."""
    found: list[LoggedEvent] = []
    async with asyncio.timeout(20):
        while len(found) < events:
            found += await reader.next(0.5)
    return found


def truth(sql: Sql) -> list[tuple[str, bytes]]:
    """(id, document) of every event, made of what the ledger has archived."""
    return [(event.id, event.document) for entry in archived(sql) for event in outgoing_events(entry)]


async def some_load(engine: Engine, chance: random.Random, skus: list[str], rounds: int) -> int:
    """Rounds of mixed commands, many to an entry; gives how many events they made. Survives a Redis that goes away."""
    for _ in range(rounds):
        made = [
            Reserve(random_base(), lines_text([(chance.choice(skus), 1)]), 60_000, details='{"c":"ann"}')
            for _ in range(chance.choice([1, 1, 3, 40]))
        ]
        try:
            replies = await engine.apply_raw(made)
            holds = [(command.base, reply.now_ms) for command, reply in zip(made, replies, strict=True)]
            await engine.apply_raw(
                [
                    Confirm((hold,), "order") if chance.random() < 0.7 else Release(*hold)
                    for hold in holds
                    if chance.random() < 0.9
                ]
            )
        except Unavailable:
            await asyncio.sleep(0.05)
    return (await engine.journal_state()).seq


class Wanderer:
    """Reads, stops in the middle of what it was given, goes away, comes back where it was."""

    def __init__(self, feed: EventFeed, chance: random.Random, pause_s: float) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.connections = 0
        self._feed = feed
        self._chance = chance
        self._pause_s = pause_s

    async def run(self, done: Callable[[], int]) -> None:
        """Until as many events were seen as `done` says; 0: not known yet."""
        last = "0-1-0"
        while not done() or len(self.seen) < done():
            self.connections += 1
            patience = self._chance.randint(1, 60)
            async with self._feed.reader(last) as reader:
                while patience > 0 and (not done() or len(self.seen) < done()):
                    events = await reader.next(0.1)
                    # Of what came, a part may be all that reached the client before it left.
                    taken = events if self._chance.random() < 0.8 else events[: self._chance.randint(0, len(events))]
                    self.seen += [(event.id, event.document) for event in taken]
                    if taken:
                        last = taken[-1].id
                    patience -= len(events) + 1
                    if taken != events:
                        break
                    await asyncio.sleep(self._chance.random() * self._pause_s)


async def test_many_readers_of_any_pace_under_load(
    inventory: Inventory, start_flusher: Callable[..., Any], sql: Sql
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    # A ring so small that who is slow must read from Postgres.
    feed = EventFeed(inventory, tail=TailSettings(most_bytes=20_000))
    start_flusher()
    engine = inventory.engine
    skus = ["A", "B", "C"]
    for sku in skus:
        await product(engine, sku)
    last_seq = 0
    readers = [Wanderer(feed, random.Random(seed + n), pause) for n, pause in enumerate([0, 0, 0.005, 0.02, 0.1])]
    reading = [asyncio.create_task(reader.run(lambda: last_seq)) for reader in readers]
    last_seq = await some_load(engine, chance, skus, 60)
    async with asyncio.timeout(40):
        await asyncio.gather(*reading)
    expected = truth(sql)
    assert [name for name, _ in expected] == [f"0-1-{seq}" for seq in range(1, last_seq + 1)]
    for reader in readers:
        assert reader.seen == expected
    assert sum(reader.connections for reader in readers) > len(readers)
    assert feed.readers == 0
    assert feed.tail.size == 0


async def test_what_a_reader_takes_live_comes_from_memory(
    feed: EventFeed, inventory: Inventory, start_flusher: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_flusher()
    await product(inventory.engine, "A")
    async with feed.reader("0-1-0") as reader:
        await read(reader, 2)
        await eventually(lambda: feed.tail._stream_id, what="the tail follows")

        async def never(*_: object) -> list[LoggedEvent]:
            raise AssertionError("the archive was asked")

        for n in range(20):
            await inventory.engine.reserve([("A", 1)], customer_id=f"c{n}")
            if n == 0:
                # The tail has met the journal's end; from here on nothing else is needed.
                await read(reader, 1)
                await eventually(lambda: feed.tail.size > 0)
                monkeypatch.setattr(log, "read_after", never)
            else:
                await read(reader, 1)


async def test_through_a_restart_of_redis_and_a_trimmed_journal(
    make_inventory: Callable[..., Any],
    make_redis: Callable[..., EmbeddedRedis],
    start_flusher: Callable[..., Any],
    sql: Sql,
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    server = make_redis()
    with server.client() as client:
        open_partition(client, epoch=1, ledger_seq=0)
    engine = await Engine.connect(server.url, EngineSettings(epoch=1))
    inventory = await make_inventory(engine)
    feed = EventFeed(inventory)
    start_flusher(server.url)
    await product(engine, "A")
    last_seq = 0
    readers = [Wanderer(feed, random.Random(seed + n), pause) for n, pause in enumerate([0, 0.05])]
    reading = [asyncio.create_task(reader.run(lambda: last_seq)) for reader in readers]
    await some_load(engine, chance, ["A"], 10)
    server.kill()
    server.start()
    await eventually(lambda: engine.connected)
    await some_load(engine, chance, ["A"], 10)
    flushed = (await engine.journal_state()).seq
    await eventually(lambda: sql("SELECT seq FROM journal_cursors") == [(flushed,)])
    with server.client() as client:
        client.xtrim(KEYS.journal, maxlen=1, approximate=False)
    last_seq = await some_load(engine, chance, ["A"], 10)
    async with asyncio.timeout(30):
        await asyncio.gather(*reading)
    expected = truth(sql)
    assert [name for name, _ in expected] == [f"0-1-{seq}" for seq in range(1, last_seq + 1)]
    assert all(reader.seen == expected for reader in readers)
    await engine.close()


def entry(first_seq: int, *events: object, epoch: int = 1) -> bytes:
    return msgspec.msgpack.encode([SCHEMA, epoch, first_seq, 1_800_000_000_000, list(events)])


def adjusted(reason: str, on_hand: int, sku: str = "A", change: int = 1) -> list[object]:
    number = f"{on_hand:024x}{1_800_000_000_000:012x}"
    return ["adjust", number, f"{sku}={change}={on_hand}=0", "IN", reason, "T", "r", "tests"]


def put(client: redis.Redis, raw: bytes, seq: int, stream_id: str = "*") -> None:
    client.hset(KEYS.meta, mapping={"epoch": 1, "seq": seq, "schema": SCHEMA})
    client.xadd(KEYS.journal, {"b": raw}, id=stream_id)


def reasons(events: list[LoggedEvent]) -> list[tuple[int, str]]:
    found = [(event.seq, msgspec.json.decode(event.document)["data"]) for event in events]
    return [(seq, data.get("reason", "")) for seq, data in found]


async def test_what_redis_forgot_before_the_ledger_had_it_is_never_told(
    feed: EventFeed, redis_client: redis.Redis, start_flusher: Callable[..., Any]
) -> None:
    """The tail reads ahead of the ledger. A Redis that loses that and goes on gives its numbers to other events."""
    put(redis_client, entry(1, adjusted("first", 1)), 1)
    async with feed.reader("0-1-0") as reader:
        put(redis_client, entry(2, adjusted("lost", 2), adjusted("lost", 3)), 3)
        await eventually(lambda: feed.tail._entries and feed.tail._entries[-1].last_seq == 3)
        # Without a word to the tail, as behind a failover that it has not noticed.
        feed.tail._task.cancel()
        redis_client.delete(KEYS.journal)
        put(redis_client, entry(1, adjusted("first", 1)), 1)
        put(redis_client, entry(2, adjusted("true", 2), adjusted("true", 3)), 3)
        start_flusher()
        assert reasons(await read(reader, 3)) == [(1, "first"), (2, "true"), (3, "true")]


async def test_what_the_ledger_set_aside_is_told_as_that(
    feed: EventFeed, redis_client: redis.Redis, start_flusher: Callable[..., Any]
) -> None:
    async with feed.reader("0-1-0") as reader:
        put(redis_client, entry(1, adjusted("good", 1), adjusted("bad", 9, sku="not'a SKU"), adjusted("good", 2)), 3)
        put(redis_client, b"not msgpack", 3)
        put(redis_client, entry(6, ["teleport", "x"], adjusted("good", 3)), 7)
        start_flusher()
        events = await read(reader, 7)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6, 7]
    types = [event.type for event in events]
    assert types == [
        "stock.adjusted",
        "journal.unreadable",
        "stock.adjusted",
        "journal.unreadable",
        "journal.unreadable",
        "journal.unreadable",
        "stock.adjusted",
    ]


async def test_what_was_set_aside_stays_that_for_who_comes_later(
    feed: EventFeed, redis_client: redis.Redis, start_flusher: Callable[..., Any]
) -> None:
    """The tail has read it as if it were good, and the ledger vouches for what came since: but not for this."""
    async with feed.reader("0-1-0") as first:
        put(redis_client, entry(1, adjusted("good", 1)), 1)
        put(redis_client, entry(2, adjusted("bad", 9, sku="not'a SKU")), 2)
        await eventually(lambda: feed.tail._entries and feed.tail._entries[-1].last_seq == 2)
        start_flusher()
        await read(first, 2)
        put(redis_client, entry(3, adjusted("good", 2)), 3)
        await read(first, 1)
        async with feed.reader("0-1-1") as second:
            events = await read(second, 2)
    assert [event.type for event in events] == ["journal.unreadable", "stock.adjusted"]


async def test_another_epoch_begins_at_1_again(feed: EventFeed, sql: Sql) -> None:
    def archive(epoch: int, first_seq: int, *events: object) -> None:
        last_seq = first_seq + len(events) - 1
        sql(
            "INSERT INTO journal_archive (partition, epoch, last_seq, first_seq, at, stream_id, body)"
            " VALUES (0, %s, %s, %s, now(), '1-1', %s)",
            epoch,
            last_seq,
            first_seq,
            entry(first_seq, *events, epoch=epoch),
        )
        sql("UPDATE journal_cursors SET epoch = %s, seq = %s", epoch, last_seq)
        sql("SELECT pg_notify('holdfast_ledger', %s)", f"0:{epoch}:{last_seq}:1-1")

    archive(1, 1, adjusted("one", 1), adjusted("two", 2))
    async with feed.reader("0-1-0") as reader:
        assert [event.id for event in await read(reader, 2)] == ["0-1-1", "0-1-2"]
        archive(2, 1, adjusted("one", 3))
        assert [event.id for event in await read(reader, 1)] == ["0-2-1"]
        archive(2, 2, adjusted("two", 4))
        assert [event.id for event in await read(reader, 1)] == ["0-2-2"]
    async with feed.reader("0-1-1") as reader:
        assert [event.id for event in await read(reader, 3)] == ["0-1-2", "0-2-1", "0-2-2"]


async def test_a_reader_slower_than_events_are_kept_is_told_so(
    feed: EventFeed, inventory: Inventory, start_flusher: Callable[..., Any], sql: Sql
) -> None:
    start_flusher()
    await product(inventory.engine, "A")
    async with AsyncExitStack() as readers:
        slow = await readers.enter_async_context(feed.reader("0-1-0"))
        quick = await readers.enter_async_context(feed.reader("0-1-0"))
        await read(quick, 2)
        await inventory.engine.reserve([("A", 1)], customer_id="ann")
        await read(quick, 1)
        # Before the ring begins; so the archive is asked, which no longer knows.
        sql("DELETE FROM journal_archive WHERE last_seq <= 2")
        feed.tail._forget()
        with pytest.raises(EventsGone) as gone:
            await slow.next(0.1)
        assert gone.value.oldest_id == "0-1-2"
        assert slow.position == Position(1, 0)


async def test_nothing_happens(feed: EventFeed, inventory: Inventory) -> None:
    async with feed.reader(None) as reader:
        assert await reader.next(0.01) == []
        assert reader.position == Position(1, 0)


async def test_without_readers_redis_is_not_asked(
    feed: EventFeed, inventory: Inventory, redis_client: redis.Redis, start_flusher: Callable[..., Any]
) -> None:
    def reading() -> int:
        # The flusher's reads are short; only a tail waits for a second.
        return sum(client["cmd"] == "xread" and "b" in client["flags"] for client in redis_client.client_list())

    async with feed.reader(None):
        await eventually(lambda: reading() == 1)
    await eventually(lambda: reading() == 0)
    async with feed.reader(None):
        await eventually(lambda: reading() == 1, what="it begins again")


async def test_adjustments_of_many_lines(
    feed: EventFeed, inventory: Inventory, start_flusher: Callable[..., Any]
) -> None:
    start_flusher()
    skus = [f"S{n}" for n in range(50)]
    for sku in skus:
        await product(inventory.engine, sku, 5)
    lines = tuple((sku, "add", 1) for sku in skus)
    command = Adjust(random_base(), lines, "IN", "délivré ✓\n", "T", "r", "tests")
    assert (await inventory.engine.execute(command)).status == "ok"
    before = len(skus) * 2
    assert await inventory.watermark.reached(0, 1, before, 20), "an event is known once the ledger has it"
    async with feed.reader(f"0-1-{before}") as reader:
        (event,) = await read(reader, 1)
    data = msgspec.json.decode(event.document)["data"]
    assert b"\n" not in event.document
    assert data["reason"] == "délivré ✓\n"
    assert [line["sku"] for line in data["lines"]] == skus
    assert all((line["quantity"], line["on_hand"]) == (1, 6) for line in data["lines"])
