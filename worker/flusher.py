"""The flusher: follows one partition's journal into the ledger, exactly once in effect, and trims behind itself.

Owns the loop (reading, pacing, backing off, halting, trimming, reporting); never decides what an event means
(persistence/flush_plan.py) or how it is written (persistence/ledger_writer.py).

The cursor in Postgres is the only truth about how far it is. After anything unexpected, a lost connection, an unknown
COMMIT, another flusher, it forgets what it knows and begins again at the cursor; so two flushers, a zombie or a kill at
any line do no harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final, Literal

import structlog
from msgspec import Struct
from redis.exceptions import RedisError

from engine.client import open_blocking_client
from engine.journal import JournalReader, stream_position
from persistence.flush_plan import Cursor, FlushPlan, JournalBroken, JournalGap
from persistence.journal_entries import JournalEntry, UnreadableEntry, read_entry
from persistence.ledger_writer import CursorMoved, LedgerError, LedgerLost, LedgerWriter, PlanRefused
from persistence.level_book import LevelBook
from worker.failpoints import Hook, nothing

State = Literal["running", "halted", "stopped"]
ReadEntry = JournalEntry | UnreadableEntry

_ORIGIN: Final = "0-0"
_RECOVERING: Final = "waits for recovery"
_LOOK_BACK: Final = 8
"""Entries looked at to find one that may be trimmed up to."""


class _Fenced(Exception):
    """A recovery is at work on the state in Redis."""


class FlusherSettings(Struct, frozen=True):
    """Every limit of the flusher."""

    partition: int = 0
    worker: str = "worker"
    """Name of this process in `flusher_status`."""
    tick_ms: int = 10
    """Least time between the starts of two flushes unless a full one waits: what a commit costs is shared by all
    events that came in the meantime. An event that comes while nothing happens is flushed at once, and all of them
    while somebody waits for the ledger: what comes during one commit shares the next."""
    read_entries: int = 64
    """Entries (batches) in one XREAD: an answer should not hold Redis for long."""
    flush_events: int = 10_000
    """Events in one flush; an entry is never split, so that the last one may bring a few more."""
    block_ms: int = 200
    """How long an XREAD waits for the first entry, and so how long a stop may take to be noticed."""
    keep_ms: int = 900_000
    keep_bytes: int = 256 * 1024 * 1024
    """How much journal stays behind the cursor, whichever is less: what a restored Postgres is brought up from."""
    trim_every_ms: int = 5_000
    report_every_ms: int = 1_000
    halted_retry_ms: int = 2_000
    """How often a halted flusher looks whether what broke has been put right."""
    fenced_retry_ms: int = 50
    """How often it looks whether a recovery is through."""
    first_back_off_ms: int = 50
    last_back_off_ms: int = 2_000
    stand_by_ms: int = 500
    """How long the cursor must stand still until a flusher that lost it to another one tries again."""
    drain_ms: int = 10_000
    """How long a stop may spend on flushing what is left."""


class FlusherStatus(Struct, frozen=True):
    """What the flusher knows of itself, for metrics and readiness."""

    state: State = "running"
    reason: str = ""
    """Why it is halted, or what it waits for; empty when all is well."""
    epoch: int = 0
    seq: int = 0
    lag_events: int = 0
    lag_ms: int = 0
    """Age of the oldest event that is not in the ledger yet."""
    flushes: int = 0
    events: int = 0
    ledger_rows: int = 0
    quarantined: int = 0
    failures: int = 0
    trimmed_entries: int = 0
    last_flush_ms: float = 0.0
    journal_entries: int = 0
    journal_bytes: int = 0


class Flusher:
    """Runs in a thread of its own: `run` until `stop` is called from another one."""

    def __init__(
        self,
        redis_url: str,
        database_url: str,
        settings: FlusherSettings | None = None,
        passed: Hook = nothing,
    ) -> None:
        self._settings = settings or FlusherSettings()
        self._passed = passed
        # No retries of the client: whether and when to ask again is decided in one place, here.
        self._redis = open_blocking_client(redis_url)
        self._reader = JournalReader(self._redis, self._settings.partition)
        self._writer = LedgerWriter(database_url, self._settings.partition, passed)
        self._log = structlog.get_logger("worker.flusher").bind(partition=self._settings.partition)
        self._stop = threading.Event()
        self._drain_until = 0.0
        self._status = FlusherStatus()
        self._position = _ORIGIN
        self._flush_started = 0.0
        self._report_due = 0.0
        self._trim_due = 0.0
        self._halted_at: Cursor | None = None
        self._back_off_ms = 0
        self._waits_for = ""
        self._standing_by = False

    @property
    def status(self) -> FlusherStatus:
        """The latest picture; safe to read from any thread."""
        return self._status

    def stop(self) -> None:
        """Ask `run` to flush what is in the journal and return."""
        self._drain_until = time.monotonic() + self._settings.drain_ms / 1000
        self._stop.set()

    def run(self) -> None:
        """Follow the journal until stopped. Survives Redis and Postgres going away; raises only for a bug."""
        try:
            while not self._finished():
                try:
                    if self._standing_by:
                        self._stand_by()
                    self._follow()
                except _Fenced:
                    self._wait_for_recovery()
                except JournalBroken as broken:
                    if not self._epoch_has_ended():
                        self._halt(str(broken))
                except CursorMoved:
                    self._standing_by = True
                except (RedisError, LedgerError, OSError) as error:
                    self._back_off(error)
        finally:
            self._say(state="stopped")
            self._report_quietly()
            self._writer.close()
            self._redis.close()

    def drain(self) -> Cursor:
        """Flush what the journal holds beyond the ledger and continues it, and give where the ledger stands then.

        For a recovery, instead of `run`: stops at a break without halting. Raises RedisError, LedgerError.
        """
        cursor, book = self._writer.load()
        self._position = cursor.stream_id
        try:
            while entries := self._gather(0):
                cursor = self._flush(cursor, book, entries)
        except JournalBroken as broken:
            self._log.warning("the journal does not go on", reason=str(broken), seq=cursor.seq)
            cursor = self._writer.read_cursor()
        return cursor

    def close(self) -> None:
        """Let the connections go, after `drain`; `run` does it by itself."""
        self._writer.close()
        self._redis.close()

    def _finished(self) -> bool:
        return self._stop.is_set() and (
            self._status.state == "halted" or self._back_off_ms > 0 or time.monotonic() > self._drain_until
        )

    def _stand_by(self) -> None:
        """Another flusher is at work: leave it to that one as long as the cursor moves, then try again.

        Two that race would be as right, but the loser of each flush does its work in vain.
        """
        self._log.info("standing by: another flusher is at work", seq=self._status.seq)
        seen = None
        while not self._stop.is_set():
            cursor = self._writer.read_cursor()
            if cursor == seen:
                break
            seen = cursor
            self._say(epoch=cursor.epoch, seq=cursor.seq, state="running", reason="stands by")
            if time.monotonic() >= self._report_due:
                self._report()
            self._stop.wait(self._settings.stand_by_ms / 1000)
        self._standing_by = False

    def _follow(self) -> None:
        """From the cursor on, until stopped and drained."""
        cursor, book = self._writer.load()
        self._position = cursor.stream_id
        self._say(epoch=cursor.epoch, seq=cursor.seq)
        while True:
            stopping = self._stop.is_set()
            entries = self._gather(0 if stopping else self._settings.block_ms) or self._overlooked(cursor)
            if entries:
                cursor = self._flush(cursor, book, entries)
            elif stopping:
                self._drain_until = 0.0
                return
            self._recovered()
            self._keep_house(cursor)
            if stopping and time.monotonic() > self._drain_until:
                return

    def _gather(self, block_ms: int) -> list[ReadEntry]:
        """The entries of the next flush; empty when none came within `block_ms`."""
        settings = self._settings
        found = self._reader.read(self._position, settings.read_entries, block_ms)
        if not found:
            return []
        entries = [read_entry(stream_id, raw) for stream_id, raw in found]
        events = _count(entries)
        rest_s = self._flush_started + settings.tick_ms / 1000 - time.monotonic()
        small = len(found) < settings.read_entries and events < settings.flush_events
        if rest_s > 0 and small and not self._reader.awaited():
            self._stop.wait(rest_s)
        while events < settings.flush_events:
            found = self._reader.read(found[-1][0], settings.read_entries, 0)
            more = [read_entry(stream_id, raw) for stream_id, raw in found]
            if not more:
                break
            entries += more
            events += _count(more)
        self._flush_started = time.monotonic()
        self._passed("after_read")
        return entries

    def _flush(self, cursor: Cursor, book: LevelBook, entries: Sequence[ReadEntry]) -> Cursor:
        """Write entries and give the new cursor. What lies before a break is written; the break itself halts."""
        plan = FlushPlan(self._settings.partition, cursor, book)
        for index, entry in enumerate(entries):
            try:
                plan.add(entry)
            except JournalBroken as broken:
                plan.undo()
                if index > 0:
                    return self._flush(cursor, book, entries[:index])
                if isinstance(broken, JournalGap):
                    return self._flush(cursor, book, self._found_again(cursor))
                raise
        try:
            return self._write(plan)
        except PlanRefused as refusal:
            plan.undo()
            self._log.error("postgres refused a flush; going through it piece by piece", reason=str(refusal))
            return self._flush_by_entry(cursor, book, entries)

    def _flush_by_entry(self, cursor: Cursor, book: LevelBook, entries: Sequence[ReadEntry]) -> Cursor:
        for entry in entries:
            plan = FlushPlan(self._settings.partition, cursor, book)
            plan.add(entry)
            try:
                cursor = self._write(plan)
            except PlanRefused as refusal:
                plan.undo()
                if isinstance(entry, UnreadableEntry):
                    raise JournalBroken(f"entry {entry.stream_id} cannot be set aside: {refusal}") from refusal
                cursor = self._flush_by_event(cursor, book, entry)
        return cursor

    def _flush_by_event(self, cursor: Cursor, book: LevelBook, entry: JournalEntry) -> Cursor:
        """One transaction an event; the one that Postgres refuses goes to quarantine."""
        refused = ""
        while cursor.seq < entry.last_seq:
            plan = FlushPlan(self._settings.partition, cursor, book)
            plan.add_event(entry, refused)
            try:
                cursor = self._write(plan)
            except PlanRefused as refusal:
                plan.undo()
                if refused:
                    raise JournalBroken(f"event {cursor.seq + 1} cannot be set aside: {refusal}") from refusal
                refused = f"refused by Postgres: {refusal}"
            else:
                refused = ""
        return cursor

    def _write(self, plan: FlushPlan) -> Cursor:
        self._writer.write(plan)
        self._position = plan.stream_id
        status = self._status
        self._say(
            seq=plan.seq,
            flushes=status.flushes + 1,
            events=status.events + plan.events,
            ledger_rows=status.ledger_rows + len(plan.ledger),
            quarantined=status.quarantined + len(plan.quarantine),
            last_flush_ms=(time.monotonic() - self._flush_started) * 1000,
        )
        for found in plan.quarantine:
            self._log.error(
                "journal event quarantined",
                seq=found.seq,
                stream_id=found.stream_id,
                applied=found.applied,
                reason=found.error,
            )
        return plan.end

    def _overlooked(self, cursor: Cursor) -> list[ReadEntry]:
        """When the stream seems to be at its end: what it holds all the same, where reading on does not look.

        Raises JournalBroken when the state machine is behind the ledger, of another epoch, or ahead of the stream.
        """
        if time.monotonic() < self._report_due:
            return []
        epoch, seq = self._reader.written()
        if epoch == 0 and self._reader.fenced():
            raise _Fenced
        if epoch == 0 and cursor.seq == 0:
            return []
        if epoch == 0:
            raise JournalBroken(f"Redis is empty, the ledger stands at {cursor.seq}")
        if epoch != cursor.epoch:
            raise JournalBroken(f"Redis is of epoch {epoch}, the ledger of {cursor.epoch}")
        if seq < cursor.seq:
            raise JournalBroken(f"Redis stands at {seq}, behind the ledger at {cursor.seq}")
        if seq == cursor.seq or self._reader.read(self._position, 1, 0):
            return []
        return self._found_again(cursor)

    def _found_again(self, cursor: Cursor) -> list[ReadEntry]:
        """The entry that continues the ledger, wherever it stands in the stream: a server that forgot may have given
        a stream id twice. Raises JournalBroken when there is none.
        """
        after = _ORIGIN
        while found := self._reader.read(after, self._settings.read_entries, 0):
            for stream_id, raw in found:
                entry = read_entry(stream_id, raw)
                if (
                    isinstance(entry, JournalEntry)
                    and entry.epoch == cursor.epoch
                    and entry.first_seq <= cursor.seq + 1 <= entry.last_seq
                ):
                    return [entry]
            after = found[-1][0]
        raise JournalBroken(f"gap in the journal: {cursor.seq + 1} is nowhere in it")

    def _wait_for_recovery(self) -> None:
        """The state is being held against the ledger, or rebuilt: the cursor will be another one afterwards."""
        if self._status.reason != _RECOVERING:
            self._log.info(_RECOVERING, seq=self._status.seq)
            self._say(state="running", reason=_RECOVERING)
        self._report_quietly()
        self._stop.wait(self._settings.fenced_retry_ms / 1000)
        if self._stop.is_set():
            # Whoever is at work flushes what there is, and so does the next start.
            self._drain_until = 0.0

    def _recovered(self) -> None:
        if self._status.state == "halted" or self._status.reason:
            self._log.info("following the journal again", seq=self._status.seq)
            self._back_off_ms = 0
            self._say(state="running", reason="")

    def _halt(self, reason: str) -> None:
        """Stand still, loudly: report, and look again now and then whether it was put right."""
        if self._status.state != "halted" or self._status.reason != reason:
            self._log.error("partition halted", reason=reason, seq=self._status.seq)
        self._say(state="halted", reason=reason)
        until = time.monotonic() + self._settings.halted_retry_ms / 1000
        while not self._stop.is_set() and time.monotonic() < until and not self._epoch_has_ended():
            self._measure_lag_quietly()
            self._report_quietly()
            self._stop.wait(self._settings.report_every_ms / 1000)
        self._report_due = 0.0

    def _epoch_has_ended(self) -> bool:
        """True if a recovery has begun another epoch since the cursor was read: nothing is broken then."""
        try:
            return self._writer.read_cursor().epoch != self._status.epoch
        except (LedgerLost, JournalBroken):
            return False

    def _back_off(self, error: Exception) -> None:
        settings = self._settings
        where = "Postgres" if isinstance(error, LedgerLost) else "Redis"
        if not self._back_off_ms or self._waits_for != where:
            self._log.error("flusher waits", waits_for=where, reason=f"{type(error).__name__}: {error}")
            if self._status.state != "halted":
                self._say(reason=f"waits for {where}")
            self._say(failures=self._status.failures + 1)
            self._waits_for = where
        if where == "Postgres":
            self._measure_lag_quietly()
        longer_ms = max(settings.first_back_off_ms, self._back_off_ms * 2)
        self._back_off_ms = min(longer_ms, settings.last_back_off_ms)
        self._stop.wait(self._back_off_ms / 1000)

    def _keep_house(self, cursor: Cursor) -> None:
        """Between two flushes: trim and report when it is time."""
        now = time.monotonic()
        if now >= self._report_due:
            self._measure_lag()
            self._report()
        if now >= self._trim_due:
            self._trim(cursor)
            self._trim_due = time.monotonic() + self._settings.trim_every_ms / 1000

    def _measure_lag(self) -> None:
        epoch, seq = self._reader.written()
        lag_events = max(0, seq - self._status.seq) if epoch == self._status.epoch else 0
        oldest_ms = self._reader.oldest_after(self._position) if lag_events else None
        lag_ms = max(0, self._reader.server_now_ms() - oldest_ms) if oldest_ms is not None else 0
        self._say(lag_events=lag_events, lag_ms=lag_ms)

    def _measure_lag_quietly(self) -> None:
        """Measure if Redis answers: how far the ledger is behind matters most while it stands still."""
        try:
            self._measure_lag()
        except RedisError as error:
            self._log.warning("lag not measured", reason=f"{type(error).__name__}: {error}")

    def _trim(self, cursor: Cursor) -> None:
        extent = self._reader.extent()
        trimmed = 0
        if extent.length and cursor.stream_id != _ORIGIN:
            before = min(f"{extent.server_now_ms - self._settings.keep_ms}-0", cursor.stream_id, key=stream_position)
            over = extent.memory_bytes - self._settings.keep_bytes
            if over > 0:
                # The share of the stream that is too much, taken from its oldest end by time; what that misses goes
                # the next time round.
                first, last = stream_position(extent.first_id)[0], stream_position(cursor.stream_id)[0]
                share = first + (last - first) * over // extent.memory_bytes + 1
                before = min(max(before, f"{share}-0", key=stream_position), cursor.stream_id, key=stream_position)
            if stream_position(before) > stream_position(extent.first_id):
                trimmed = self._trim_flushed(before, cursor)
        self._say(
            trimmed_entries=self._status.trimmed_entries + trimmed,
            journal_entries=extent.length - trimmed,
            journal_bytes=extent.memory_bytes,
        )

    def _trim_flushed(self, before: str, cursor: Cursor) -> int:
        """Trim up to the newest entry not after `before` that is in the ledger for certain; that one stays.

        Stream ids alone do not tell: a server whose clock went back writes new events under old ids.
        """
        for stream_id, raw in self._reader.latest_until(before, _LOOK_BACK):
            entry = read_entry(stream_id, raw)
            if isinstance(entry, JournalEntry) and (entry.epoch, entry.last_seq) <= (cursor.epoch, cursor.seq):
                self._passed("before_trim")
                trimmed = self._reader.trim(stream_id)
                self._passed("after_trim")
                return trimmed
        return 0

    def _report(self) -> None:
        status = self._status
        self._report_due = time.monotonic() + self._settings.report_every_ms / 1000
        self._writer.report(self._settings.worker, status.state, status.reason, status.lag_events, status.lag_ms)

    def _report_quietly(self) -> None:
        """Report if Postgres answers: while halted or stopping, its absence changes nothing."""
        try:
            self._report()
        except LedgerLost as error:
            self._log.warning("status not reported", reason=str(error))

    def _say(self, **changes: object) -> None:
        self._status = FlusherStatus(**{**_fields(self._status), **changes})  # type: ignore[arg-type]


def _count(entries: Sequence[ReadEntry]) -> int:
    return sum(len(entry.events) if isinstance(entry, JournalEntry) else 1 for entry in entries)


def _fields(status: FlusherStatus) -> dict[str, object]:
    return {name: getattr(status, name) for name in FlusherStatus.__struct_fields__}
