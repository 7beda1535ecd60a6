"""Postgres as a recovery needs it: one recovery at a time, what the ledger knows at one moment, and the new epoch.

Owns its connections and SQL; never touches Redis and never decides what is to be done (worker/recovery.py). Every
method raises LedgerLost when Postgres gives no answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg
from msgspec import Struct

from persistence.database_url import lasting_url
from persistence.flush_plan import Cursor
from persistence.journal_entries import JournalEntry, read_entry
from persistence.ledger_writer import LedgerLost
from persistence.queries.partition_state import COLUMNS, PartitionState, State, state_of
from persistence.tables import LEDGER_CHANNEL, PARTITION_CHANNEL

LOCK_HELD_MS: Final = 15_000
"""A recovery that gives no sign for this long (stopped, swapped out) loses its lock, and another takes over."""

_LOCK: Final = 0x686F_6C64_7265_6300
"""Number of the advisory lock of partition 0; the partition is added."""

_ROWS: Final = 2_000


class Archived(Struct, frozen=True):
    """The journal entry that ends where the ledger stands."""

    stream_id: str
    body: bytes


class LevelRow(Struct, frozen=True):
    """One SKU as the ledger has it. Units."""

    sku: str
    on_hand: int
    reserved: int
    safety_stock: int
    low_stock_threshold: int
    active: bool


class HeldLine(Struct, frozen=True):
    """One line of a reservation."""

    sku: str
    quantity: int


class ReservationRow(Struct, frozen=True):
    """One reservation as the ledger has it. Times in Unix ms."""

    id: str
    status: str
    deadline_ms: int
    updated_ms: int
    owner: str
    customer_id: str
    cart_id: str | None
    order_id: str | None
    fingerprint: str
    lines: tuple[HeldLine, ...]

    @property
    def lines_text(self) -> str:
        """As commands carry them."""
        return ",".join([f"{line.sku}={line.quantity}" for line in self.lines])


_lines = msgspec.json.Decoder(tuple[HeldLine, ...]).decode


class LedgerSnapshot:
    """What the ledger says, all of it at one moment. Rows come as they are read: it may be more than fits in memory."""

    def __init__(self, connection: psycopg.Connection[Any], cursor: Cursor, partition: int) -> None:
        self.cursor = cursor
        self._connection = connection
        self._partition = partition

    def count(self) -> tuple[int, int]:
        """About how many levels and how many ACTIVE reservations there are, for showing progress."""
        row = self._connection.execute(
            "SELECT (SELECT count(*) FROM inventory_levels WHERE partition = %s),"
            " (SELECT count(*) FROM stock_reservations WHERE status = 'ACTIVE' AND partition = %s)",
            (self._partition, self._partition),
        ).fetchone()
        return row or (0, 0)

    def levels(self) -> Iterator[LevelRow]:
        """Every SKU, in no order."""
        yield from (
            LevelRow(*row)
            for row in self._stream(
                "SELECT l.sku, l.on_hand, l.reserved, coalesce(p.safety_stock, 0), coalesce(p.low_stock_threshold, 0),"
                " coalesce(p.status = 'active', true) FROM inventory_levels l LEFT JOIN products p USING (sku)"
                " WHERE l.partition = %s",
                self._partition,
            )
        )

    def holds(self) -> Iterator[ReservationRow]:
        """Every ACTIVE reservation, in no order."""
        return self._reservations("status = 'ACTIVE'")

    def ended(self, keyed_since_ms: int, expired_since_ms: int) -> Iterator[ReservationRow]:
        """Ended reservations that Redis must still know: keyed ones by creation, expired ones by their end."""
        return self._reservations(
            "status <> 'ACTIVE' AND ((created_at >= to_timestamp(%s / 1000.0) AND fingerprint <> '')"
            " OR (status = 'EXPIRED' AND expires_at >= to_timestamp(%s / 1000.0)))",
            keyed_since_ms,
            expired_since_ms,
        )

    def archive_back_to(self, since_ms: int) -> Iterator[JournalEntry]:
        """Journal entries from the newest back to those written at `since_ms`."""
        rows = self._stream(
            "SELECT stream_id, body, at < to_timestamp(%s / 1000.0) FROM journal_archive WHERE partition = %s"
            " ORDER BY epoch DESC, last_seq DESC",
            since_ms,
            self._partition,
        )
        for stream_id, body, too_old in rows:
            if too_old:
                return
            entry = read_entry(stream_id, bytes(body))
            if isinstance(entry, JournalEntry):
                yield entry

    def newest_ms(self) -> int:
        """When the newest event that the ledger has was written; 0 when there is none."""
        row = self._connection.execute(
            "SELECT coalesce((extract(epoch FROM max(at)) * 1000)::bigint, 0) FROM (SELECT at FROM journal_archive"
            " WHERE partition = %s ORDER BY epoch DESC, last_seq DESC LIMIT 1) newest",
            (self._partition,),
        ).fetchone()
        return int(row[0]) if row else 0

    def _reservations(self, condition: str, *arguments: object) -> Iterator[ReservationRow]:
        rows = self._stream(
            "SELECT id, status, (extract(epoch FROM expires_at) * 1000)::bigint,"  # noqa: S608 - conditions are ours
            " (extract(epoch FROM updated_at) * 1000)::bigint, owner, customer_id, cart_id, order_id, fingerprint,"
            f" lines::text FROM stock_reservations WHERE partition = %s AND {condition}",
            self._partition,
            *arguments,
        )
        for row in rows:
            name, status, deadline_ms, updated_ms, owner, customer_id, cart_id, order_id, fingerprint, lines = row
            yield ReservationRow(
                name,
                status,
                deadline_ms,
                updated_ms,
                owner,
                customer_id,
                cart_id,
                order_id,
                fingerprint,
                _lines(lines),
            )

    def _stream(self, query: str, *arguments: object) -> Iterator[tuple[Any, ...]]:
        with self._connection.cursor(name=f"recovery_{time.monotonic_ns()}") as cursor:
            cursor.itersize = _ROWS
            cursor.execute(query.encode(), arguments)
            yield from cursor


class RecoveryLedger:
    """One recovery's connections. Not thread-safe; `close` it."""

    def __init__(self, database_url: str, partition: int = 0) -> None:
        self._url = lasting_url(database_url)
        self._partition = partition
        self._connection: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def state(self) -> tuple[PartitionState | None, Cursor]:
        """What is admitted (None: nothing ever was), and where the ledger stands; both at one moment."""
        with self._answering() as connection:
            row = connection.execute(
                f"SELECT c.epoch, c.seq, c.stream_id, {_qualified('s')} FROM journal_cursors c"  # noqa: S608
                " LEFT JOIN partition_state s USING (partition) WHERE c.partition = %s",
                (self._partition,),
            ).fetchone()
        if row is None:
            raise LedgerLost(f"partition {self._partition} has no cursor")
        return (None if row[3] is None else state_of(row[3:])), Cursor(*row[:3])

    def has_levels(self) -> bool:
        """True if the ledger knows any SKU."""
        with self._answering() as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT FROM inventory_levels WHERE partition = %s)", (self._partition,)
            ).fetchone()
        return bool(row and row[0])

    def archived_at(self, cursor: Cursor) -> Archived | None:
        """The entry that ends where the ledger stands; None when it is no longer kept."""
        with self._answering() as connection:
            row = connection.execute(
                "SELECT stream_id, body FROM journal_archive WHERE partition = %s AND epoch = %s AND last_seq = %s",
                (self._partition, cursor.epoch, cursor.seq),
            ).fetchone()
        return Archived(row[0], bytes(row[1])) if row else None

    def breaks_open(self, epoch: int) -> bool:
        """True if events of this epoch are set aside, or breaks of it authorised, that a later event shows."""
        with self._answering() as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT FROM journal_quarantine WHERE partition = %(p)s AND epoch = %(e)s"
                " AND applied = 'nothing') OR EXISTS (SELECT FROM level_corrections WHERE partition = %(p)s"
                " AND epoch = %(e)s AND applied_seq IS NULL AND void IS NULL)",
                {"p": self._partition, "e": epoch},
            ).fetchone()
        return bool(row and row[0])

    @contextmanager
    def lock(self, wait_s: float) -> Iterator[Callable[[], None]]:
        """Be the only recovery of the partition inside the block; gives what must be called now and then to keep it.

        Raises LedgerLost when another one has it for longer than `wait_s`, or when ours was lost.
        """
        try:
            with psycopg.connect(
                self._url, connect_timeout=5, application_name=f"holdfast recovery {self._partition}"
            ) as connection:
                connection.execute(f"SET idle_in_transaction_session_timeout = {LOCK_HELD_MS}")
                connection.execute(f"SET lock_timeout = {max(1, round(wait_s * 1000))}")
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK + self._partition,))

                def keep() -> None:
                    try:
                        connection.execute("SELECT 1")
                    except psycopg.Error as error:
                        raise LedgerLost(f"the recovery's lock was lost: {error}") from error

                yield keep
        except psycopg.Error as error:
            raise LedgerLost(f"{type(error).__name__}: {error}") from error

    @contextmanager
    def snapshot(self) -> Iterator[LedgerSnapshot]:
        """What the ledger says, as of one moment, over a connection of its own."""
        try:
            with psycopg.connect(
                self._url, connect_timeout=5, application_name=f"holdfast rebuild {self._partition}"
            ) as connection:
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                row = connection.execute(
                    "SELECT epoch, seq, stream_id FROM journal_cursors WHERE partition = %s", (self._partition,)
                ).fetchone()
                if row is None:
                    raise LedgerLost(f"partition {self._partition} has no cursor")
                yield LedgerSnapshot(connection, Cursor(*row), self._partition)
        except psycopg.Error as error:
            raise LedgerLost(f"{type(error).__name__}: {error}") from error

    def tell(self, state: State, reason: str, run_id: str, epoch: int) -> None:
        """Let every process know that nothing is served, and why. `run_id`, `epoch`: for a first row."""
        with self._answering() as connection:
            connection.execute(
                "INSERT INTO partition_state AS s (partition, epoch, run_id, state, reason) VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT (partition) DO UPDATE SET state = excluded.state, reason = excluded.reason,"
                " changed_at = clock_timestamp()",
                (self._partition, epoch, run_id, state, reason),
            )
            connection.execute(f"NOTIFY {PARTITION_CHANNEL}, '{self._partition:d}'")

    def open(
        self, expected: Cursor, opened: Cursor, run_id: str, *, rebuild_ms: int | None, reserved: dict[str, int]
    ) -> bool:
        """In one transaction: the cursor from `expected` to `opened`, and the server with `run_id` admitted there.

        `rebuild_ms`: how long the rebuild took; None when there was none. `reserved`: SKU -> units that its level must
        say, where it said something else than the holds. False, with nothing done, when the cursor is not where it was
        expected: a flusher was faster, and what was loaded is old.
        """
        with self._answering() as connection, connection.transaction():
            moved = connection.execute(
                "UPDATE journal_cursors SET epoch = %s, seq = %s, stream_id = %s, updated_at = clock_timestamp()"
                " WHERE partition = %s AND epoch = %s AND seq = %s AND stream_id = %s",
                (
                    opened.epoch,
                    opened.seq,
                    opened.stream_id,
                    self._partition,
                    expected.epoch,
                    expected.seq,
                    expected.stream_id,
                ),
            )
            if moved.rowcount != 1:
                return False
            for sku, units in reserved.items():
                connection.execute("UPDATE inventory_levels SET reserved = %s WHERE sku = %s", (units, sku))
            connection.execute(
                "INSERT INTO partition_state AS s (partition, epoch, run_id, state, reason, rebuilds, rebuild_ms)"
                " VALUES (%(p)s, %(e)s, %(r)s, 'OPEN', '', %(n)s, %(ms)s) ON CONFLICT (partition) DO UPDATE SET"
                " epoch = excluded.epoch, run_id = excluded.run_id, state = 'OPEN', reason = '',"
                " rebuilds = s.rebuilds + excluded.rebuilds,"
                " rebuild_ms = CASE WHEN excluded.rebuilds > 0 THEN excluded.rebuild_ms ELSE s.rebuild_ms END,"
                " changed_at = clock_timestamp()",
                {
                    "p": self._partition,
                    "e": opened.epoch,
                    "r": run_id,
                    "n": 0 if rebuild_ms is None else 1,
                    "ms": rebuild_ms or 0,
                },
            )
            # The waits of the epoch that ends must hear of it, and everybody of the server.
            connection.execute(
                f"NOTIFY {LEDGER_CHANNEL}, '{self._partition:d}:{opened.epoch:d}:{opened.seq:d}:';"
                f" NOTIFY {PARTITION_CHANNEL}, '{self._partition:d}'"
            )
        return True

    @contextmanager
    def _answering(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=5,
                    application_name=f"holdfast keeper {self._partition}",
                )
            yield self._connection
        except psycopg.Error as error:
            self.close()
            raise LedgerLost(f"{type(error).__name__}: {error}") from error


def _qualified(table: str) -> str:
    return ", ".join(f"{table}.{column.strip()}" for column in COLUMNS.split(","))
