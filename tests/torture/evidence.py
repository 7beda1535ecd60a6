"""What the stores say after a run: reservations, ledger rows, the journal as it was archived, counters.

Owns reading it, straight from Postgres and Redis; never compares it with anything.
"""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg
from msgspec import Struct
from psycopg.rows import dict_row

from engine.events import Entry, decode_entry
from engine.keys import partition_keys
from persistence.database_url import psycopg_url
from tests.torture.world import World

KEYS = partition_keys(0)


class StoredReservation(Struct, frozen=True):
    """A row of stock_reservations."""

    id: str
    status: str
    cart_id: str
    order_id: str
    lines: dict[str, int]
    ended_before_deadline: bool


class LedgerRow(Struct, frozen=True):
    """A row of inventory_transactions."""

    seq: int
    epoch: int
    sku: str
    kind: str
    quantity: int
    previous_stock: int
    new_stock: int
    reference_type: str
    reference_id: str
    reservation_id: str


class Counter(Struct, frozen=True):
    """What Redis says of a SKU."""

    on_hand: int
    reserved: int


class Evidence(Struct, frozen=True):
    """All that the stores say about one run's SKUs."""

    reservations: tuple[StoredReservation, ...]
    ledger: tuple[LedgerRow, ...]
    counters: dict[str, Counter]
    entries: tuple[Entry, ...]
    """Of the whole store since the run began, in order."""
    quarantined: int


def position(world: World) -> tuple[int, int]:
    """(epoch, seq) up to which the ledger has followed the journal."""
    with psycopg.connect(psycopg_url(world.postgres.url)) as connection:
        row = connection.execute("SELECT epoch, seq FROM journal_cursors WHERE partition = 0").fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def written(world: World) -> tuple[int, int]:
    """(epoch, seq) of the last event that Redis holds; (0, 0) when it is empty."""
    with world.client() as client:
        epoch, seq = client.hmget(KEYS.meta, ["epoch", "seq"])
    return int(epoch or 0), int(seq or 0)


def reserved(world: World, skus: list[str]) -> dict[str, int]:
    """Units held of each SKU, by the counters in Redis."""
    return {sku: counter.reserved for sku, counter in _counters(world, skus).items()}


def quarantined(world: World) -> int:
    """Entries and events that were ever set aside."""
    with psycopg.connect(psycopg_url(world.postgres.url)) as connection:
        row = connection.execute("SELECT count(*) FROM journal_quarantine").fetchone()
    assert row is not None
    return int(row[0])


def gather(world: World, customer: str, skus: list[str], since: tuple[int, int], quarantined_before: int) -> Evidence:
    """Everything about `customer` and `skus`, and the journal after `since`."""
    with psycopg.connect(psycopg_url(world.postgres.url), row_factory=dict_row) as connection:
        stored = connection.execute(
            "SELECT id, status, coalesce(cart_id, '') AS cart_id, coalesce(order_id, '') AS order_id, lines,"
            " coalesce(status = 'EXPIRED' AND ended_at < expires_at, false) AS early"
            " FROM stock_reservations WHERE customer_id = %s",
            (customer,),
        ).fetchall()
        rows = connection.execute(
            "SELECT seq, epoch, sku, transaction_type, quantity, previous_stock, new_stock, reference_type,"
            " reference_id, coalesce(reservation_id, '') AS reservation_id"
            " FROM inventory_transactions WHERE sku = ANY(%s) ORDER BY epoch, seq, line",
            (skus,),
        ).fetchall()
        bodies = connection.execute(
            "SELECT body FROM journal_archive WHERE partition = 0 AND (epoch, last_seq) > (%s, %s)"
            " ORDER BY epoch, last_seq",
            since,
        ).fetchall()
    return Evidence(
        tuple(
            StoredReservation(
                row["id"], row["status"], row["cart_id"], row["order_id"], _lines(row["lines"]), row["early"]
            )
            for row in stored
        ),
        tuple(
            LedgerRow(
                row["seq"],
                row["epoch"],
                row["sku"],
                row["transaction_type"],
                row["quantity"],
                row["previous_stock"],
                row["new_stock"],
                row["reference_type"],
                row["reference_id"],
                row["reservation_id"],
            )
            for row in rows
        ),
        _counters(world, skus),
        tuple(_entries(bodies)),
        quarantined(world) - quarantined_before,
    )


def _entries(rows: list[dict[str, Any]]) -> list[Entry]:
    found = []
    for row in rows:
        try:
            found.append(decode_entry(bytes(row["body"])))
        except msgspec.MsgspecError:
            continue  # poison that was put there by hand; it has no events
    return found


def _counters(world: World, skus: list[str]) -> dict[str, Counter]:
    with world.client() as client:
        values = client.hmget(KEYS.stock, skus)
    found = {}
    for sku, value in zip(skus, values, strict=True):
        numbers = (value or b"-1 -1").split()
        found[sku] = Counter(int(numbers[0]), int(numbers[1]))
    return found


def _lines(stored: Any) -> dict[str, int]:
    """`lines` as the column keeps it: a list of objects, or of pairs, or an object."""
    if isinstance(stored, dict):
        return {str(sku): int(units) for sku, units in stored.items()}
    return {
        str(line["sku"] if isinstance(line, dict) else line[0]): int(
            line["quantity"] if isinstance(line, dict) else line[1]
        )
        for line in stored
    }
