"""Writes a flush plan into Postgres: rows, reservations, levels, quarantine and cursor, in one transaction.

Owns the flusher's connection and its SQL; never reads the journal and never decides what a plan holds.

    LedgerError
    ├── CursorMoved       another flusher was here; nothing was written, load the cursor again
    ├── PlanRefused       Postgres refused the content of this plan; nothing was written, go through it piece by piece
    └── LedgerLost        no answer: Postgres is away or the outcome of COMMIT is unknown; load the cursor again
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, LiteralString

import psycopg

from persistence.copy_rows import (
    COPY_ARCHIVE,
    COPY_LEDGER,
    COPY_RESERVATION_SKUS,
    COPY_RESERVATIONS,
    archive_row,
    copy_stream,
    postgres_time,
)
from persistence.database_url import lasting_url
from persistence.flush_plan import Cursor, FlushPlan, JournalBroken
from persistence.level_book import Correction, KnownLevel, LevelBook
from persistence.reservation_changes import lines_json
from persistence.tables import LEDGER_CHANNEL

Hook = Callable[[str], None]
"""Called with the name of each step as it is passed; tests kill the process there."""

MOST_LEVELS_LOADED: Final = 200_000
"""Levels read at once when the cursor is loaded, the latest first; any other is read when first met."""

STOPPED_AFTER_MS: Final = 10_000
"""A flusher that falls silent in the middle of a transaction (stopped, swapped out) holds the cursor's row for this
long; then Postgres ends its session, and another flusher goes on."""

_CONTENT_REFUSED: Final = frozenset({"22", "23", "54"})
"""SQLSTATE classes that blame the rows: data exception, constraint violation, a limit of Postgres exceeded."""

_APPEND_ONLY: Final = frozenset({"inventory_transactions", "journal_archive"})
"""Tables that hold each event or entry once: to meet one again means that the cursor is behind them."""


class LedgerError(Exception):
    """Root of what a write can end in."""


class CursorMoved(LedgerError):
    """The cursor in Postgres is not where this plan begins."""


class PlanRefused(LedgerError):
    """Postgres refused something in the plan."""


class LedgerLost(LedgerError):
    """Postgres gave no answer, or none that says whether the transaction is committed."""


class LedgerWriter:
    """The one connection of a flusher. Not thread-safe; reconnects when asked for a cursor after a loss."""

    def __init__(self, database_url: str, partition: int, passed: Hook = lambda step: None) -> None:
        self._url = lasting_url(database_url)
        self._partition = partition
        self._passed = passed
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def load(self) -> tuple[Cursor, LevelBook]:
        """Where the ledger stands, and the levels there. Raises LedgerLost."""
        with self._answering() as connection, connection.transaction():
            # One snapshot, so that cursor and levels belong together while another flusher commits.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor = self._read_cursor(connection)
            book = LevelBook(self._no_level, corrections=partial(self._read_corrections, cursor.epoch))
            rows = connection.execute(
                "SELECT sku, on_hand, reserved, CASE WHEN epoch = %s THEN seq ELSE 0 END FROM inventory_levels"
                " WHERE partition = %s ORDER BY updated_at DESC LIMIT %s",
                (cursor.epoch, self._partition, MOST_LEVELS_LOADED),
            ).fetchall()
            for sku, on_hand, reserved, seq in rows:
                book.levels[sku] = KnownLevel(sku, on_hand, reserved, seq)
            if len(rows) == MOST_LEVELS_LOADED:
                epoch = cursor.epoch
                book = LevelBook(lambda sku: self._read_level(sku, epoch), book.levels, book.corrections)
            book.missing = dict(
                connection.execute(
                    "SELECT seq, (SELECT count(*) FROM inventory_transactions t WHERE t.partition = q.partition"
                    " AND t.epoch = q.epoch AND t.seq = q.seq) FROM journal_quarantine q"
                    " WHERE partition = %s AND epoch = %s AND applied = 'nothing'",
                    (self._partition, cursor.epoch),
                ).fetchall()
            )
        return cursor, book

    def read_cursor(self) -> Cursor:
        """Where the ledger stands. Raises LedgerLost."""
        with self._answering() as connection:
            return self._read_cursor(connection)

    def write(self, plan: FlushPlan) -> None:
        """Commit the plan, or nothing of it. Raises LedgerError as drawn above, and JournalBroken when the ledger
        has rows of this plan already though its cursor has not passed them.
        """
        with self._answering() as connection:
            try:
                self._move_cursor(connection, plan)
                self._copy(connection, plan)
                self._passed("after_copy")
                self._merge(connection, plan)
                self._passed("after_merge")
                self._passed("before_commit")
                # The stream id vouches for the journal as Redis has it; what was set aside is not what that says.
                stream_id = "" if plan.quarantine else _stream_id(plan.stream_id)
                connection.execute(
                    f"SELECT pg_notify('{LEDGER_CHANNEL}',"
                    f" '{self._partition}:{plan.epoch}:{plan.seq}:{stream_id}'); COMMIT"
                )
            except psycopg.Error as error:
                self._give_up(connection, error)
                raise
            except CursorMoved:
                connection.execute("ROLLBACK")
                raise
            except BaseException:
                # Not an answer of Postgres: the transaction must not stay open behind it.
                self.close()
                raise
        self._passed("after_commit")

    def report(self, worker: str, state: str, reason: str, lag_events: int, lag_ms: int) -> None:
        """Renew this flusher's row in `flusher_status`. Raises LedgerLost."""
        with self._answering() as connection, connection.transaction():
            # A heartbeat that a crash forgets costs nothing; syncing one every second would.
            connection.execute("SET LOCAL synchronous_commit = off")
            connection.execute(
                "INSERT INTO flusher_status AS f (partition, worker, state, reason, lag_events, lag_ms, heartbeat_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp()) ON CONFLICT (partition, worker) DO UPDATE SET"
                " state = excluded.state, reason = excluded.reason, lag_events = excluded.lag_events,"
                " lag_ms = excluded.lag_ms, heartbeat_at = excluded.heartbeat_at",
                (self._partition, worker, state, reason, lag_events, lag_ms),
            )
            connection.execute("DELETE FROM flusher_status WHERE heartbeat_at < now() - interval '1 hour'")

    @contextmanager
    def _answering(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """The connection; a loss of it becomes LedgerLost, and the next call connects anew."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection
        except psycopg.Error as error:
            self.close()
            raise LedgerLost(f"{type(error).__name__}: {error}") from error

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=5,
            application_name=f"holdfast flusher {self._partition}",
        )
        # The batch is always the small side: rows are looked up by key, never by reading the table, and a plan must
        # not turn around because the statistics of a young table are wrong.
        connection.execute(
            "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; SET jit = off;"
            f" SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = {STOPPED_AFTER_MS}"
        )
        return connection

    def _read_cursor(self, connection: psycopg.Connection[tuple[Any, ...]]) -> Cursor:
        row = connection.execute(
            "SELECT epoch, seq, stream_id FROM journal_cursors WHERE partition = %s", (self._partition,)
        ).fetchone()
        if row is None:
            raise JournalBroken(f"partition {self._partition} has no cursor")
        return Cursor(*row)

    def _no_level(self, _sku: str) -> KnownLevel | None:
        return None

    def _read_level(self, sku: str, epoch: int) -> KnownLevel | None:
        with self._answering() as connection:
            row = connection.execute(
                "SELECT sku, on_hand, reserved, CASE WHEN epoch = %s THEN seq ELSE 0 END"
                " FROM inventory_levels WHERE sku = %s",
                (epoch, sku),
            ).fetchone()
        return KnownLevel(*row) if row else None

    def _read_corrections(self, epoch: int, sku: str) -> list[Correction]:
        """Asked each time: whoever authorises one must not have to wake the flusher."""
        with self._answering() as connection:
            rows = connection.execute(
                "SELECT c.id, c.difference, c.after_seq, r.id, r.reason, r.created_by, r.seq IS NOT NULL"
                " FROM level_corrections c JOIN drift_repairs r ON r.id = c.repair_id"
                " WHERE c.partition = %s AND c.epoch = %s AND c.sku = %s AND c.applied_seq IS NULL"
                " AND c.void IS NULL ORDER BY c.id",
                (self._partition, epoch, sku),
            ).fetchall()
        return [Correction(*row) for row in rows]

    def _move_cursor(self, connection: psycopg.Connection[tuple[Any, ...]], plan: FlushPlan) -> None:
        # First, so that a second flusher waits here for the row instead of doing all the work in vain. By stream id
        # too: an unreadable entry moves nothing else. BEGIN travels along, so no value may be bound: all are ours.
        begin, end = plan.start, plan.end
        where = f"partition = {self._partition:d} AND epoch = {begin.epoch:d} AND seq = {begin.seq:d}"
        done = connection.execute(
            f"BEGIN; UPDATE journal_cursors SET seq = {end.seq:d}, updated_at = clock_timestamp(),"  # noqa: S608
            f" stream_id = '{_stream_id(end.stream_id)}'"
            f" WHERE {where} AND stream_id = '{_stream_id(begin.stream_id)}'"
        )
        done.nextset()
        if done.rowcount != 1:
            raise CursorMoved(f"the cursor is not at {begin.seq}")

    def _copy(self, connection: psycopg.Connection[tuple[Any, ...]], plan: FlushPlan) -> None:
        if plan.ledger:
            _copy_rows(connection, COPY_LEDGER, plan.ledger)
        opened = plan.reservations.opened.values()
        if opened:
            _copy_rows(connection, COPY_RESERVATIONS, [row.row(self._partition, plan.epoch) for row in opened])
            _copy_rows(connection, COPY_RESERVATION_SKUS, [sku for row in opened for sku in row.sku_rows()])

        if plan.archive:
            rows = [
                archive_row(
                    self._partition,
                    entry.epoch,
                    entry.last_seq,
                    entry.first_seq,
                    postgres_time(entry.at_ms),
                    entry.stream_id,
                    entry.raw,
                )
                for entry in plan.archive
            ]
            _copy_rows(connection, COPY_ARCHIVE, rows)

    def _merge(self, connection: psycopg.Connection[tuple[Any, ...]], plan: FlushPlan) -> None:
        if plan.reservations.amended:
            self._amend(connection, plan)
        if plan.reservations.ended:
            self._end(connection, plan)
        if plan.touched:
            self._write_levels(connection, plan)
        for sku, event in plan.settings.items():
            # The engine orders changes of settings; whatever the API wrote beforehand, this order stands.
            connection.execute(
                "INSERT INTO products AS p (sku, name, low_stock_threshold, safety_stock, status)"
                " VALUES (%(sku)s, %(sku)s, %(threshold)s, %(safety)s, %(status)s) ON CONFLICT (sku) DO UPDATE"
                " SET low_stock_threshold = excluded.low_stock_threshold, safety_stock = excluded.safety_stock,"
                " status = excluded.status WHERE (p.low_stock_threshold, p.safety_stock, p.status)"
                " IS DISTINCT FROM (excluded.low_stock_threshold, excluded.safety_stock, excluded.status)",
                {
                    "sku": sku,
                    "threshold": event.low_stock_threshold,
                    "safety": event.safety_stock,
                    "status": "active" if event.active else "inactive",
                },
            )
        if plan.announced:
            connection.execute(
                "UPDATE announcements SET announced_at = clock_timestamp()"
                " WHERE base = ANY(%s) AND announced_at IS NULL",
                (plan.announced,),
            )
        for found in plan.quarantine:
            connection.execute(
                "INSERT INTO journal_quarantine (partition, epoch, seq, stream_id, applied, raw, error)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    self._partition,
                    plan.epoch,
                    found.seq,
                    found.stream_id,
                    found.applied,
                    found.raw,
                    found.error.replace("\0", "\N{REPLACEMENT CHARACTER}"),
                ),
            )
        if plan.corrected:
            done = connection.execute(
                "UPDATE level_corrections c SET applied_seq = s.seq FROM unnest(%s::bigint[], %s::bigint[])"
                " AS s (id, seq) WHERE c.id = s.id AND c.applied_seq IS NULL AND c.void IS NULL",
                (
                    _numbers([correction.id for correction, _ in plan.corrected]),
                    _numbers([seq for _, seq in plan.corrected]),
                ),
            )
            if done.rowcount != len(plan.corrected):
                raise CursorMoved("a correction is no longer open")
        if plan.found_empty:
            connection.execute(
                "UPDATE journal_quarantine SET applied = 'empty' WHERE partition = %s AND epoch = %s"
                " AND seq = ANY(%s) AND applied = 'nothing'",
                (self._partition, plan.epoch, plan.found_empty),
            )

    def _write_levels(self, connection: psycopg.Connection[tuple[Any, ...]], plan: FlushPlan) -> None:
        levels = [known for known, *_ in plan.touched.values()]
        connection.execute(
            "INSERT INTO inventory_levels AS l (sku, partition, on_hand, reserved, epoch, seq, updated_at)"
            " SELECT s.sku, %s, s.on_hand, s.reserved, %s, s.seq, to_timestamp(s.at_ms / 1000)"
            " FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::float8[])"
            " AS s (sku, on_hand, reserved, seq, at_ms)"
            " ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand, reserved = excluded.reserved,"
            " epoch = excluded.epoch, seq = excluded.seq, updated_at = excluded.updated_at",
            (
                self._partition,
                plan.epoch,
                _texts([known.sku for known in levels]),
                _numbers([known.on_hand for known in levels]),
                _numbers([known.reserved for known in levels]),
                _numbers([known.seq for known in levels]),
                _numbers([known.at_ms for known in levels]),
            ),
        )

    def _amend(self, connection: psycopg.Connection[tuple[Any, ...]], plan: FlushPlan) -> None:
        amended = plan.reservations.amended
        rows = list(amended.values())
        changed = connection.execute(
            "UPDATE stock_reservations r SET lines = s.lines::jsonb, expires_at = to_timestamp(s.deadline_ms / 1000),"
            " updated_at = to_timestamp(s.at_ms / 1000), seq = s.seq, epoch = %s"
            " FROM unnest(%s::text[], %s::text[], %s::float8[], %s::float8[], %s::bigint[])"
            " AS s (id, lines, deadline_ms, at_ms, seq) WHERE r.id = s.id AND r.status = 'ACTIVE' RETURNING r.id",
            (
                plan.epoch,
                _texts([row.id for row in rows]),
                _texts([lines_json(row.lines) for row in rows]),
                _numbers([row.deadline_ms for row in rows]),
                _numbers([row.updated_ms for row in rows]),
                _numbers([row.seq for row in rows]),
            ),
        )
        found = {row[0] for row in changed}
        for row in rows:
            if row.id not in found:
                plan.set_aside_stockless(row.seq, row.id, "amend: no ACTIVE reservation row")
        held = [(sku, row.id) for row in rows if row.id in found for sku, _ in row.lines]
        dropped = [(sku, row.id) for row in rows if row.id in found for sku in row.dropped]
        if dropped:
            connection.execute(
                "DELETE FROM reservation_skus k USING unnest(%s::text[], %s::text[]) AS s (sku, id),"
                " stock_reservations r WHERE r.id = s.id AND k.sku = s.sku AND k.created_at = r.created_at"
                " AND k.reservation_id = s.id",
                (_texts([sku for sku, _ in dropped]), _texts([name for _, name in dropped])),
            )
        connection.execute(
            "INSERT INTO reservation_skus (sku, created_at, reservation_id) SELECT s.sku, r.created_at, r.id"
            " FROM unnest(%s::text[], %s::text[]) AS s (sku, id) JOIN stock_reservations r ON r.id = s.id"
            " ON CONFLICT DO NOTHING",
            (_texts([sku for sku, _ in held]), _texts([name for _, name in held])),
        )

    def _end(self, connection: psycopg.Connection[tuple[Any, ...]], plan: FlushPlan) -> None:
        rows = list(plan.reservations.ended.values())
        arguments = (
            plan.epoch,
            _texts([row.id for row in rows]),
            _texts([row.status for row in rows]),
            _texts([row.order_id for row in rows]),
            _numbers([row.updated_ms for row in rows]),
            _numbers([row.seq for row in rows]),
            _texts(["t" if row.late else "f" for row in rows]),
        )
        changed = connection.execute(
            "UPDATE stock_reservations r SET status = s.status, order_id = s.order_id, updated_at = s.at,"
            " ended_at = s.at, seq = s.seq, epoch = %s FROM (SELECT id, status, order_id,"
            " to_timestamp(at_ms / 1000) AS at, seq, late"
            " FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[], %s::bigint[], %s::boolean[])"
            " AS u (id, status, order_id, at_ms, seq, late)) AS s"
            " WHERE r.id = s.id AND (r.status = 'ACTIVE' OR (s.late AND r.status = 'EXPIRED'))",
            arguments,
        )
        if changed.rowcount == len(rows):
            return
        # Only after the update does a row carry its own event's number: what does not was not there to be ended.
        done = {
            row[0]
            for row in connection.execute(
                "SELECT r.id FROM stock_reservations r JOIN unnest(%s::text[], %s::bigint[]) AS s (id, seq)"
                " ON r.id = s.id AND r.seq = s.seq WHERE r.epoch = %s",
                (arguments[1], arguments[5], plan.epoch),
            )
        }
        for row in rows:
            if row.id not in done:
                plan.set_aside_stockless(row.seq, row.id, f"{row.status}: no reservation row that it could end")

    def _give_up(self, connection: psycopg.Connection[tuple[Any, ...]], error: psycopg.Error) -> None:
        """Roll back if there still is a connection, and tell what kind of refusal it was."""
        if connection.closed or connection.broken:
            return
        connection.execute("ROLLBACK")
        state = error.sqlstate or ("22000" if isinstance(error, psycopg.DataError) else "")
        if isinstance(error, psycopg.errors.UniqueViolation) and error.diag.table_name in _APPEND_ONLY:
            raise JournalBroken(f"the ledger is ahead of its cursor: {error}") from error
        if state[:2] in _CONTENT_REFUSED:
            raise PlanRefused(str(error)) from error


def _copy_rows(connection: psycopg.Connection[tuple[Any, ...]], statement: LiteralString, rows: list[bytes]) -> None:
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(copy_stream(rows))


def _stream_id(text: str) -> str:
    """The id, if it is digits and one dash: it goes into a statement as it is."""
    if not text.replace("-", "", 1).isdecimal():
        raise JournalBroken(f"not a stream id: {text[:80]!r}")
    return text


def _numbers(values: list[int]) -> str:
    """An array literal: many times cheaper to make than what psycopg makes of a list."""
    return "{" + ",".join(map(str, values)) + "}"


def _texts(values: list[str] | list[str | None] | list[str]) -> str:
    """An array literal of texts; None becomes NULL."""
    return "{" + ",".join([_quoted(value) for value in values]) + "}"


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
