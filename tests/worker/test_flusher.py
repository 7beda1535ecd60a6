"""The flusher's plain work: every event arrives once, folded as it may be, and Postgres says what the journal says."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
from msgspec import structs

from engine import Engine
from engine.journal import JournalReader
from engine.keys import partition_keys
from inventory.admission import watermark_of
from tests.waiting import wait_until
from tests.worker.conftest import QUICK, Rows, RunningFlusher
from tests.worker.handmade_journal import HandmadeJournal

Start = Callable[..., RunningFlusher]


def test_a_sale_from_receipt_to_ledger(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    start_flusher()
    journal.adjust({"MUG": 10, "CUP": 4}, reference_type="Delivery", reference_id="D1")
    held = journal.reserve({"MUG": 2, "CUP": 1}, cart_id="cart-9")
    journal.flush()
    journal.confirm(held, "order-1")
    journal.flush()
    flushed()
    sold = rows(
        "SELECT sku, transaction_type, quantity, previous_stock, new_stock, reference_type, reference_id, reason,"
        " created_by, reservation_id FROM inventory_transactions WHERE quantity < 0 ORDER BY id"
    )
    assert sold == [
        ("MUG", "OUT", -2, 10, 8, "Order", "order-1", None, "storefront", held),
        ("CUP", "OUT", -1, 4, 3, "Order", "order-1", None, "storefront", held),
    ]
    ((lines, cart, order, status, ended, created),) = rows(
        "SELECT lines, cart_id, order_id, status, ended_at, created_at FROM stock_reservations"
    )
    assert lines == [{"sku": "MUG", "quantity": 2}, {"sku": "CUP", "quantity": 1}]
    assert (cart, order, status) == ("cart-9", "order-1", "COMPLETED")
    assert ended == datetime.fromtimestamp(journal.at_ms / 1000, UTC)
    assert created == datetime.fromtimestamp(int(held[24:], 16) / 1000, UTC)


def test_a_confirm_without_an_order_refers_to_the_reservation(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    journal.adjust({"A": 1})
    held = journal.reserve({"A": 1})
    journal.confirm(held)
    journal.flush()
    start_flusher()
    flushed()
    assert rows("SELECT reference_type, reference_id FROM inventory_transactions WHERE quantity < 0") == [
        ("Reservation", held)
    ]


def test_a_whole_life_in_one_flush_and_the_same_life_in_many(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    def live(step: Callable[[], Any]) -> list[str]:
        names = [journal.reserve({"A": 3, "B": 1}) for _ in range(5)]
        step()
        journal.amend(names[0], {"A": 1, "C": 2})
        step()
        journal.amend(names[0], {"C": 1, "B": 2})
        step()
        journal.confirm(names[0], "o")
        journal.release(names[1])
        journal.expire(names[2])
        journal.expire(names[3])
        step()
        journal.confirm(names[3], "late")
        step()
        return names

    journal.adjust({"A": 100, "B": 100, "C": 100})
    journal.flush()
    together = live(lambda: None)
    journal.flush()
    running = start_flusher()
    flushed()

    def flush_and_wait() -> None:
        journal.flush()
        wait_until(lambda: running.status.seq == journal.seq)

    apart = live(flush_and_wait)
    flushed()
    for one, other in zip(together, apart, strict=True):
        columns = "status, order_id, customer_id, owner, lines, ended_at IS NULL, updated_at >= created_at"
        (first,), (second,) = (
            rows(f"SELECT {columns} FROM stock_reservations WHERE id = %s", name) for name in (one, other)
        )
        assert first == second
        skus = [
            rows("SELECT sku FROM reservation_skus WHERE reservation_id = %s ORDER BY 1", name) for name in (one, other)
        ]
        assert skus[0] == skus[1]
    assert rows("SELECT sku FROM reservation_skus WHERE reservation_id = %s ORDER BY 1", apart[0]) == [
        ("B",),
        ("C",),
    ]


def test_configure_reaches_products(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    rows("INSERT INTO products (sku, name) VALUES ('KNOWN', 'A good name')")
    journal.configure("KNOWN", safety_stock=3, threshold=9, active=False)
    journal.configure("NEW", safety_stock=1)
    journal.flush()
    start_flusher()
    flushed()
    assert rows("SELECT sku, name, safety_stock, low_stock_threshold, status FROM products ORDER BY 1") == [
        ("KNOWN", "A good name", 3, 9, "inactive"),
        ("NEW", "NEW", 1, 0, "active"),
    ]


def test_a_random_month(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    start_flusher(QUICK)
    skus = [f"SKU-{n}" for n in range(20)]
    journal.adjust(dict.fromkeys(skus, 10_000))
    alive: list[str] = []
    for _ in range(3_000):
        verb = chance.choice(["reserve", "reserve", "amend", "confirm", "release", "expire", "adjust"])
        if verb == "reserve":
            alive.append(journal.reserve({sku: chance.randint(1, 4) for sku in chance.sample(skus, 3)}))
        elif verb == "adjust":
            journal.adjust({chance.choice(skus): chance.randint(0, 30)}, chance.choice(["IN", "RETURN"]))
        elif alive:
            chosen = chance.choice(alive)
            if verb == "amend":
                journal.amend(chosen, {sku: chance.randint(1, 3) for sku in chance.sample(skus, 2)})
            else:
                getattr(journal, verb)(chosen)
                alive.remove(chosen)
        if chance.random() < 0.05:
            journal.flush()
    journal.flush()
    flushed()
    assert (
        rows(
            "SELECT sku FROM inventory_levels l WHERE on_hand <> (SELECT sum(quantity) FROM inventory_transactions t"
            " WHERE t.sku = l.sku)"
        )
        == []
    )
    assert (
        rows(
            "SELECT id FROM (SELECT id, previous_stock, lag(new_stock, 1, 0::bigint) OVER"
            " (PARTITION BY sku ORDER BY id) AS before FROM inventory_transactions) t WHERE previous_stock <> before"
        )
        == []
    )
    assert rows("SELECT count(*) FROM journal_quarantine") == [(0,)]


def test_a_stop_flushes_the_last_batch(
    journal: HandmadeJournal, start_flusher: Start, rows: Rows, flushed: Callable[[], None]
) -> None:
    running = start_flusher()
    for _ in range(200):
        journal.adjust({"A": 1})
        journal.flush()
    running.stop()
    assert rows.seq() == journal.seq
    flushed()
    assert rows("SELECT state FROM flusher_status") == [("stopped",)]


def test_the_commit_is_announced(
    journal: HandmadeJournal, start_flusher: Start, database_url: str, flushed: Callable[[], None]
) -> None:
    import psycopg

    from persistence.database_url import psycopg_url

    with psycopg.connect(psycopg_url(database_url), autocommit=True) as listening:
        listening.execute("LISTEN holdfast_ledger")
        start_flusher()
        journal.adjust({"A": 1})
        journal.flush()
        heard = next(listening.notifies(timeout=60))
        row = listening.execute("SELECT stream_id FROM journal_cursors").fetchone()
    assert row is not None
    assert heard.payload == f"0:1:1:{row[0]}"


NEVER_MS = 600_000
"""A tick that no test waits for."""


def test_it_does_not_rest_while_somebody_waits_for_the_ledger(
    journal: HandmadeJournal, start_flusher: Start, redis_client: redis.Redis, rows: Rows
) -> None:
    redis_client.set(partition_keys(0).awaited, b"1", px=NEVER_MS)
    start_flusher(structs.replace(QUICK, tick_ms=NEVER_MS))
    for seq in range(1, 6):
        journal.adjust({"MUG": 1})
        journal.flush()
        wait_until(lambda seq=seq: rows.seq() == seq, 30, f"event {seq} to be flushed")


async def test_a_wait_for_the_ledger_says_so(
    engine: Engine, redis_client: redis.Redis, database_url: str, eventually: Callable[..., Any]
) -> None:
    watermark = watermark_of(engine, database_url)
    await watermark.start()
    reader = JournalReader(redis_client, 0)
    assert await watermark.reached(0, *watermark.position(0), 0.0)
    assert not reader.awaited()

    assert not await watermark.reached(0, engine.epoch, 1_000, 0.01)

    await eventually(reader.awaited, 30)
    await watermark.close()
