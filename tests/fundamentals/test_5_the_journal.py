"""Chapter 5: every change is in the journal, in the same step as the change itself, with the balances after it."""

from __future__ import annotations

import redis

from engine import Engine
from engine.events import Adjusted, Configured, Confirmed, Released, Reserved, decode_entry, event_lines
from engine.journal import JournalReader


async def test_the_journal_tells_the_whole_story(shop: Engine, redis_client: redis.Redis) -> None:
    sold = await shop.reserve([("CUP", 2)], customer_id="ann")
    given_back = await shop.reserve([("CUP", 1)], customer_id="bob")
    await shop.confirm(sold.id, order_id="order-1")
    await shop.release(given_back.id)

    raw = JournalReader(redis_client, 0).read("0", count=100, block_ms=0)
    entries = [decode_entry(body) for _, body in raw]
    story = [event for entry in entries for event in entry.events]

    kinds = [type(event) for event in story]
    assert kinds == [Configured, Adjusted, Configured, Adjusted, Reserved, Reserved, Confirmed, Released]
    cups = [
        (line.quantity, line.on_hand, line.reserved)
        for event in story
        for line in event_lines(event.lines)
        if line.sku == "CUP"
    ]
    assert cups == [(0, 0, 0), (5, 5, 0), (2, 5, 2), (1, 5, 3), (2, 3, 1), (1, 3, 0)]


async def test_events_are_numbered_without_a_gap(shop: Engine, redis_client: redis.Redis) -> None:
    for _ in range(5):
        await shop.reserve([("CUP", 1)], customer_id="ann")

    raw = JournalReader(redis_client, 0).read("0", count=100, block_ms=0)
    entries = [decode_entry(body) for _, body in raw]

    numbers = [entry.first_seq + n for entry in entries for n in range(len(entry.events))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (await shop.journal_state()).seq == numbers[-1]


async def test_an_answer_says_where_it_stands_in_the_journal(shop: Engine) -> None:
    """Once the ledger has passed `seq`, this answer is in Postgres."""
    from engine import Availability

    before = await shop.journal_state()
    await shop.reserve([("CUP", 1)], customer_id="ann")

    looked = await shop.execute(Availability("CUP=1"))

    assert looked.seq == before.seq + 1
