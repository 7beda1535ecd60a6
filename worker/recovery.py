"""Recovery: what a server holds is held against the ledger before a single command is served, and rebuilt if need be.

Owns the decision and the order of the steps; the Redis side is engine/fenced.py, the Postgres side
persistence/recovery_ledger.py, what is written back worker/restoring.py. Used by every start and by the keeper.

Rules. Only the server whose run id stands in `partition_state` is served, in the epoch that stands there. A server with
another run id (a restart, a failover) is admitted again if it holds what the ledger holds, and begins a *new epoch*:
what it forgot behind the ledger may have been seen by somebody, so no (epoch, seq) may ever mean two things. Everything
else is rebuilt from the ledger, or refused when a person has to decide. Whatever of the journal continues the ledger
is flushed before anything is wiped. A crash anywhere leaves the state fenced, and the next look begins anew.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Final, Literal

import structlog
from msgspec import Struct
from redis.exceptions import RedisError, ResponseError

from engine.client import open_blocking_client
from engine.errors import HoldfastError
from engine.events import SCHEMA
from engine.fenced import FencedPartition, FenceLost, StateFacts
from engine.journal import JournalReader
from engine.keys import PARTITIONS
from persistence.flush_plan import Cursor
from persistence.journal_entries import JournalEntry, read_entry
from persistence.ledger_writer import LedgerError, LedgerLost
from persistence.queries.partition_state import PartitionState
from persistence.recovery_ledger import RecoveryLedger
from worker.failpoints import Hook, nothing
from worker.flusher import Flusher, FlusherSettings
from worker.restoring import Restoring

Progress = Callable[[str], None]
"""Called with what is being done, in words."""

Keep = Callable[[], None]
"""Called now and then, so that the lock is not taken for a dead process's; raises LedgerLost when it is lost."""

_ORIGIN: Final = "0-0"
_TELL_EVERY_S: Final = 0.5
_KEEP_EVERY_S: Final = 0.5


class RecoveryRefused(HoldfastError):
    """The servers contradict each other in a way that a person must decide. The message says what to do."""


class Admitted(Struct, frozen=True):
    """What may be served."""

    epoch: int
    run_id: str
    rebuilds: int = 0
    """Of the store, ever."""
    rebuild_ms: int = 0
    """How long the last one took."""


class Verdict(Struct, frozen=True):
    """What is to be done about a state, and why."""

    action: Literal["nothing", "open", "adopt", "rebuild", "refuse"]
    reason: str = ""


class RecoverySettings(Struct, frozen=True):
    """What a rebuild must know of the engine's settings."""

    partition: int = 0
    retention_ms: int = 3_600_000
    idempotency_window_ms: int = 86_400_000
    lock_wait_s: float = 60.0
    """How long another process's recovery is waited for."""


class Recovery:
    """One process's hands on the recovery of a partition. Not thread-safe. `close` it."""

    def __init__(
        self,
        redis_url: str,
        database_url: str,
        settings: RecoverySettings | None = None,
        passed: Hook = nothing,
        progress: Progress = nothing,
    ) -> None:
        self._settings = settings or RecoverySettings()
        self._urls = (redis_url, database_url)
        self._passed = passed
        self._progress = progress
        # One connection: if it breaks, so does the attempt.
        self._redis = open_blocking_client(redis_url, answer_timeout_s=30, single_connection_client=True)
        self._state = FencedPartition(self._redis, self._settings.partition)
        self._reader = JournalReader(self._redis, self._settings.partition)
        self._ledger = RecoveryLedger(database_url, self._settings.partition)
        self._log = structlog.get_logger("worker.recovery").bind(partition=self._settings.partition)
        self._told_at = 0.0
        self._last: Verdict | None = None

    def close(self) -> None:
        """Let the connections go."""
        self._ledger.close()
        self._redis.close()

    def look(self) -> Admitted:
        """See that what Redis holds may be served, and do what is needed for it; gives what is admitted then.

        Quick while all is well. Raises RecoveryRefused when a person must decide, redis.exceptions.RedisError and
        LedgerError when a server is away, FenceLost when another recovery came in between: then look again.
        """
        admitted, cursor, facts = self._seen()
        if admitted is not None and self._is_fine(admitted, cursor, facts):
            return Admitted(cursor.epoch, facts.run_id, admitted.rebuilds, admitted.rebuild_ms)
        with self._ledger.lock(self._settings.lock_wait_s) as keep:
            admitted, cursor, facts = self._seen()
            verdict = self._judge(admitted, cursor, facts, now_and_then(keep))
            if admitted is not None and verdict.action == "nothing":
                return Admitted(cursor.epoch, facts.run_id, admitted.rebuilds, admitted.rebuild_ms)
            if verdict != self._last:
                # Said once: one that is refused is looked at again and again.
                self._log.warning("recovery", action=verdict.action, reason=verdict.reason)
            self._last = verdict if verdict.action == "refuse" else None
            if verdict.action == "refuse":
                self._tell("REFUSED", verdict.reason, facts, cursor)
                raise RecoveryRefused(verdict.reason)
            if verdict.action == "rebuild":
                return self._rebuild(cursor, facts, verdict.reason, keep)
            return self._adopt(admitted, cursor, facts, verdict, keep)

    def rebuild(self, reason: str) -> Admitted:
        """Rebuild whatever is there from the ledger, also what is in order. Raises as `look`."""
        with self._ledger.lock(self._settings.lock_wait_s) as keep:
            _, cursor, facts = self._seen()
            return self._rebuild(cursor, facts, reason, keep)

    def verdict(self) -> tuple[Verdict, StateFacts, Cursor]:
        """What `look` would do, without doing it."""
        admitted, cursor, facts = self._seen()
        return self._judge(admitted, cursor, facts), facts, cursor

    def _seen(self) -> tuple[PartitionState | None, Cursor, StateFacts]:
        # Postgres first: the ledger never runs ahead of what Redis holds by the time it is asked.
        admitted, cursor = self._ledger.state()
        return admitted, cursor, self._state.facts()

    # -- the decision

    def _is_fine(self, admitted: PartitionState | None, cursor: Cursor, facts: StateFacts) -> bool:
        return _is_open(admitted, cursor, facts) and (facts.has_stock or not self._ledger.has_levels())

    def _judge(  # noqa: PLR0911
        self, admitted: PartitionState | None, cursor: Cursor, facts: StateFacts, keep: Keep = lambda: None
    ) -> Verdict:
        """First that applies."""
        if self._is_fine(admitted, cursor, facts):
            return Verdict("nothing")
        if facts.schema not in {None, SCHEMA}:
            return Verdict("refuse", f"Redis holds schema {facts.schema}, this version reads {SCHEMA}")
        if facts.partitions not in {None, PARTITIONS}:
            return Verdict("refuse", f"Redis was made with {facts.partitions} partitions, not {PARTITIONS}")
        fresh = admitted is None and cursor.seq == 0 and not self._ledger.has_levels()
        if fresh and facts.empty:
            return Verdict("open", "a new store")
        if facts.epoch is not None and facts.epoch > cursor.epoch:
            return Verdict(
                "refuse",
                f"Redis is in epoch {facts.epoch}, the ledger in epoch {cursor.epoch}: one of them belongs to another"
                " store, or Postgres was restored to a time before the last recovery. Put the right one in place; or,"
                " to go on from what Postgres has and forget what only Redis knows, run `holdfast rebuild`",
            )
        if facts.epoch is None:
            if fresh:
                return Verdict("refuse", "Redis holds keys of a partition, but neither its `meta` nor a ledger")
            return Verdict("rebuild", "Redis is empty" if facts.empty else "part of the state in Redis is lost")
        if facts.epoch < cursor.epoch:
            return Verdict("rebuild", f"Redis is in epoch {facts.epoch}, the ledger in epoch {cursor.epoch}")
        if facts.seq < cursor.seq:
            return Verdict("rebuild", f"Redis stands at event {facts.seq}, the ledger at {cursor.seq}")
        if not facts.has_stock and self._ledger.has_levels():
            return Verdict("rebuild", "the counters in Redis are lost")
        return self._judge_history(cursor, facts, keep)

    def _judge_history(self, cursor: Cursor, facts: StateFacts, keep: Keep) -> Verdict:
        """The same epoch, and not behind: is it the same history up to where the ledger stands?"""
        adopt = Verdict("adopt", "Redis has restarted, or is another server, and holds what the ledger holds")
        if cursor.seq == 0 or self._holds_last_entry(cursor):
            return adopt
        found = self._entry_over(cursor.epoch, cursor.seq, keep)
        archived = self._ledger.archived_at(cursor)
        if found is not None and (archived is not None or found.stream_id != cursor.stream_id):
            return Verdict("rebuild", f"Redis has another event {cursor.seq} than the ledger")
        if found is not None:
            return adopt
        following = self._entry_over(cursor.epoch, cursor.seq + 1, keep)
        if following is not None and following.first_seq == cursor.seq + 1:
            return adopt
        if facts.seq == cursor.seq:
            return (
                adopt if self._counters_agree(keep) else Verdict("rebuild", "Redis has other counters than the ledger")
            )
        return Verdict(
            "refuse",
            f"Redis stands at event {facts.seq}, the ledger at {cursor.seq}, and the journal in between is gone:"
            " restore a newer copy of Postgres; or, to go on from what Postgres has, run `holdfast rebuild`",
        )

    def _holds_last_entry(self, cursor: Cursor) -> bool:
        """True if the journal has the very entry that the ledger ends with."""
        archived = self._ledger.archived_at(cursor)
        return archived is not None and self._state.entry_at(archived.stream_id) == archived.body

    def _continues_ledger(self, cursor: Cursor, facts: StateFacts) -> bool:
        """True if what the journal has behind the ledger's end may be flushed before a rebuild.

        With `meta` gone the journal may be whole: its entries name their epoch themselves. Where the ledger has
        something of that epoch, the very entry that it ends with tells whose they are; where it has nothing yet, none
        of them can contradict it, since an epoch is begun once.
        """
        if facts.epoch not in {None, cursor.epoch}:
            return False
        return cursor.seq == 0 or self._holds_last_entry(cursor)

    def _entry_over(self, epoch: int, seq: int, keep: Keep) -> JournalEntry | None:
        """The journal's entry that holds this event. It may be among millions."""
        after = _ORIGIN
        while found := self._reader.read(after, 500, 0):
            keep()
            for stream_id, raw in found:
                entry = read_entry(stream_id, raw)
                if not isinstance(entry, JournalEntry) or entry.epoch != epoch:
                    continue
                if entry.first_seq <= seq <= entry.last_seq:
                    return entry
            after = found[-1][0]
        return None

    def _counters_agree(self, keep: Keep) -> bool:
        known = {}
        with self._ledger.snapshot() as snapshot:
            for level in snapshot.levels():
                keep()
                known[level.sku] = (level.on_hand, level.reserved)
        there = {}
        for sku, counters in self._state.counters():
            keep()
            parts = counters.split(" ")
            if len(parts) != 5 or not all(part.isdigit() for part in parts):
                return False
            there[sku] = (int(parts[0]), int(parts[1]))
        return there == known

    # -- what is done

    def _adopt(
        self, admitted: PartitionState | None, cursor: Cursor, facts: StateFacts, verdict: Verdict, keep: Keep
    ) -> Admitted:
        """Admit the server with what it holds."""
        if verdict.action == "adopt":
            self._tell("REBUILDING", "the journal is flushed before Redis is admitted again", facts, cursor)
        facts = self._fence(facts)
        drained = self._drain(keep) if verdict.action == "adopt" else cursor
        self._passed("after_drain")
        if drained.epoch != cursor.epoch:
            raise FenceLost("the ledger is in another epoch by now")
        seq = max(facts.seq, drained.seq)
        if drained.seq < facts.seq and not self._ledger.breaks_open(cursor.epoch):
            reason = (
                f"the journal holds events up to {facts.seq}, but can be followed only to {drained.seq}; see the log of"
                " the worker. To go on from what Postgres has, run `holdfast rebuild`"
            )
            # Nothing was wiped: let the flusher say what it has against it.
            self._state.reopen(cursor.epoch, facts.seq, facts.last_now_ms)
            self._tell("REFUSED", reason, facts, cursor)
            raise RecoveryRefused(reason)
        if admitted is None or self._ledger.breaks_open(cursor.epoch):
            # Never admitted before, so that nobody was promised anything; or something of this epoch is unsettled,
            # which only a later event of the same epoch can settle.
            opened = drained
        else:
            opened, seq = Cursor(drained.epoch + 1, 0, drained.stream_id), 0
        return self._open(drained, opened, seq, facts, facts.last_now_ms)

    def _rebuild(self, cursor: Cursor, facts: StateFacts, reason: str, keep_lock: Keep) -> Admitted:
        """Load the partition anew from the ledger, in a new epoch; what stands in the way is told to everybody."""
        try:
            return self._load_anew(cursor, facts, reason, keep_lock)
        except RedisError as error:
            with contextlib.suppress(LedgerLost):
                # What a connection says of itself names addresses, which belong in the log alone.
                said = f": {error}" if isinstance(error, ResponseError) else ""
                why = f"{type(error).__name__}{said}"
                self._tell("REBUILDING", f"a rebuild has failed and is begun again: {why}", facts, cursor)
            raise

    def _load_anew(self, cursor: Cursor, facts: StateFacts, reason: str, keep_lock: Keep) -> Admitted:
        began = time.monotonic()
        keep = now_and_then(keep_lock)
        self._log.warning("rebuilding Redis from the ledger", reason=reason, epoch=cursor.epoch, seq=cursor.seq)
        self._tell("REBUILDING", f"rebuilding: {reason}", facts, cursor)
        facts = self._fence(facts)
        if self._continues_ledger(cursor, facts):
            # What is acknowledged and still there, but not yet in the ledger, must not be thrown away.
            self._drain(keep)
        self._passed("after_drain")
        self._state.wipe(journal=True, between=keep)
        self._passed("after_wipe")

        def report(done: int, total: int) -> None:
            keep()
            if time.monotonic() - self._told_at >= _TELL_EVERY_S:
                percent = min(99, 100 * done // max(1, total))
                self._tell("REBUILDING", f"rebuilding {percent} %: {reason}", facts, cursor)

        with self._ledger.snapshot() as snapshot:
            settings = self._settings
            restoring = Restoring(
                self._state, snapshot, facts.now_ms, settings.retention_ms, settings.idempotency_window_ms, report
            )
            restoring.run(self._passed)
            last_ms = snapshot.newest_ms()
            standing = snapshot.cursor
        if facts.epoch == standing.epoch:
            last_ms = max(last_ms, facts.last_now_ms)
        self._passed("after_load")
        opened = Cursor(max(standing.epoch, facts.epoch or 0) + 1, 0, _ORIGIN)
        took_ms = round((time.monotonic() - began) * 1000)
        admitted = self._open(standing, opened, 0, facts, last_ms, took_ms, restoring.corrected)
        self._log.warning(
            "Redis is rebuilt",
            epoch=opened.epoch,
            skus=restoring.levels,
            holds=restoring.holds,
            remembered=restoring.remembered,
            took_ms=took_ms,
        )
        return admitted

    def _open(  # noqa: PLR0917
        self,
        expected: Cursor,
        opened: Cursor,
        seq: int,
        facts: StateFacts,
        last_now_ms: int,
        took_ms: int | None = None,
        reserved: dict[str, int] | None = None,
    ) -> Admitted:
        # Postgres first: a Redis that is open in an epoch which the ledger does not know could never be told from one
        # of another store. Until the second step every command is refused.
        if not self._ledger.open(expected, opened, facts.run_id, rebuild_ms=took_ms, reserved=reserved or {}):
            raise FenceLost("the ledger moved meanwhile")
        self._passed("after_commit_epoch")
        self._state.reopen(opened.epoch, seq, last_now_ms)
        self._passed("after_reopen")
        self._log.info("Redis is admitted", epoch=opened.epoch, seq=seq, run_id=facts.run_id)
        now_admitted, _ = self._ledger.state()
        if now_admitted is None:
            return Admitted(opened.epoch, facts.run_id)
        return Admitted(opened.epoch, facts.run_id, now_admitted.rebuilds, now_admitted.rebuild_ms)

    def _fence(self, facts: StateFacts) -> StateFacts:
        """Stop every command; what is there from now on."""
        self._passed("before_fence")
        self._state.fence(os.urandom(12).hex())
        self._passed("after_fence")
        fenced = self._state.facts()
        if fenced.run_id != facts.run_id:
            raise FenceLost("Redis restarted meanwhile")
        return fenced

    def _drain(self, keep: Keep) -> Cursor:
        """Flush what the journal holds beyond the ledger. A flusher may be at it as well."""

        def passed(step: str) -> None:
            # Hours of journal take minutes: nobody else must begin meanwhile.
            if step == "after_read":
                keep()

        settings = FlusherSettings(partition=self._settings.partition, tick_ms=0)
        flusher = Flusher(*self._urls, settings, passed)
        try:
            for _ in range(50):
                try:
                    return flusher.drain()
                except LedgerLost:
                    raise
                except LedgerError as error:
                    self._log.info("another flusher is at work", reason=str(error))
        finally:
            flusher.close()
        raise FenceLost("another flusher does not come to an end")

    def _tell(self, state: Literal["REBUILDING", "REFUSED"], reason: str, facts: StateFacts, cursor: Cursor) -> None:
        self._told_at = time.monotonic()
        self._progress(reason)
        self._ledger.tell(state, reason, facts.run_id, cursor.epoch)


def now_and_then(keep: Keep) -> Keep:
    """`keep` for places that are passed thousands of times a second."""
    due = 0.0

    def kept() -> None:
        nonlocal due
        if time.monotonic() >= due:
            keep()
            due = time.monotonic() + _KEEP_EVERY_S

    return kept


def _is_open(admitted: PartitionState | None, cursor: Cursor, facts: StateFacts) -> bool:
    return (
        admitted is not None
        and admitted.state == "OPEN"
        and admitted.run_id == facts.run_id
        and not facts.fenced
        and admitted.epoch == cursor.epoch == facts.epoch
        and facts.schema == SCHEMA
        and facts.partitions == PARTITIONS
        and facts.seq >= cursor.seq
    )
