"""Whether this process can serve, and how the rest of the service is: part by part, `ok` or what is the matter.

Owns what is looked at; never repairs anything. A server that hangs is told of within the patience of
inventory/bounded_look.py, and one that is back is seen at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from engine.errors import Unavailable
from engine.vitals import Vitals
from inventory.bounded_look import BoundedLook, NoAnswer
from inventory.context import PARTITION
from inventory.pulse.sheets import ProcessPulse
from persistence.database import DatabaseUnavailable
from persistence.queries import ledger_state

if TYPE_CHECKING:
    from inventory.context import Inventory

WORKER_SILENT_MS: Final = 5_000
SWEEP_LATE_MS: Final = 5_000
LEDGER_LATE_MS: Final = 30_000
MEMORY_TIGHT: Final = 0.95
"""Of the memory limit; at 1 every reserve is refused."""

OK: Final = "ok"
_UNKNOWN: Final = "unknown"


NEEDED: Final = ("redis", "postgres", "flusher", "configuration")
"""Parts of a service without which it serves nobody."""
WATCHED: Final = ("worker", "sweeper", "ledger", "back_pressure", "memory", "replicas")
"""Parts that somebody should look at when they are not in order."""
PARTS: Final = NEEDED + WATCHED
"""All of them, as Readiness names them."""


class Readiness(Struct, frozen=True, kw_only=True):
    """One look. Each part is `ok`, or says in a few words what is the matter."""

    redis: str
    """Reached, takes writes, and holds the state that this process serves."""
    postgres: str
    """Reached, and in the same epoch."""
    flusher: str
    """Follows the journal, and has said so lately."""
    configuration: str
    """Redis as no start would accept it any more: evicting, without an append-only file, a replica."""
    worker: str
    """A worker process has told how it is."""
    sweeper: str
    """Ends what is due in time."""
    ledger: str
    """Not far behind the journal."""
    back_pressure: str
    """New holds are taken."""
    memory: str
    """Of Redis: not near its limit."""
    replicas: str = OK
    """As many follow Redis as durability `replicated` waits for."""
    epoch: int
    journal_lag_events: int | None
    redis_silent: bool = False
    """It did not answer in time."""
    stream_id: str = ""
    """Of the last journal entry in the ledger."""

    @property
    def obstacles(self) -> dict[str, str]:
        """What keeps requests from being served: while there is one, no traffic should come here."""
        return self._wrong(*NEEDED)

    @property
    def degraded(self) -> dict[str, str]:
        """What somebody should look at although requests are served."""
        return self._wrong(*WATCHED)

    @property
    def ready(self) -> bool:
        """True if requests can be served."""
        return not self.obstacles

    def _wrong(self, *parts: str) -> dict[str, str]:
        return {part: told for part in parts if (told := getattr(self, part)) != OK}


class _RedisView(Struct):
    vitals: Vitals
    workers: list[ProcessPulse]


class _PostgresView(Struct):
    cursor: ledger_state.LedgerCursor | None
    flusher: ledger_state.FlusherReport | None


class ReadinessCheck:
    """Use one for each process; `look` may be called as often as anybody likes."""

    def __init__(self, inventory: Inventory, replicas: int = 0) -> None:
        """`replicas`: how many durability `replicated` waits for; 0: nobody can ask for it."""
        self._inventory = inventory
        self._replicas = replicas
        self._redis = BoundedLook(self._ask_redis)
        self._postgres = BoundedLook(self._ask_postgres)
        self._stream_id = ""

    async def look(self) -> Readiness:
        """How things are, within about two seconds. Never raises for a server that is away."""
        redis, postgres = await asyncio.gather(self._redis.answer(), self._postgres.answer(), return_exceptions=True)
        for outcome, expected in ((redis, (Unavailable, NoAnswer)), (postgres, (DatabaseUnavailable, NoAnswer))):
            if isinstance(outcome, BaseException) and not isinstance(outcome, expected):
                raise outcome
        engine = self._inventory.engine
        seen = redis if isinstance(redis, _RedisView) else None
        ledger = postgres if isinstance(postgres, _PostgresView) else None
        cursor = ledger.cursor if ledger is not None else None
        if cursor is not None:
            self._stream_id = cursor.stream_id
        vitals = seen.vitals if seen is not None else None
        worker = max(seen.workers, key=lambda pulse: pulse.at_ms, default=None) if seen is not None else None
        lag = None
        if vitals is not None and cursor is not None and cursor.epoch == vitals.epoch:
            lag = max(0, vitals.seq - cursor.seq)
        return Readiness(
            redis=str(redis) or "unavailable"
            if isinstance(redis, BaseException)
            else self._redis_trouble(redis.vitals),
            postgres=self._postgres_trouble(postgres),
            flusher=_flusher_trouble(ledger),
            configuration=_configuration_trouble(vitals),
            worker=_UNKNOWN if seen is None else OK if worker is not None else "none has told anything lately",
            sweeper=_sweeper_trouble(vitals, worker),
            ledger=_ledger_trouble(vitals, worker, lag),
            back_pressure="the journal is full: new holds are refused" if engine.admission.journal_full else OK,
            memory=_memory_trouble(vitals),
            replicas=_replica_trouble(vitals, self._replicas),
            epoch=engine.epoch,
            journal_lag_events=lag,
            redis_silent=isinstance(redis, NoAnswer),
            stream_id=self._stream_id,
        )

    async def _ask_redis(self) -> _RedisView:
        engine = self._inventory.engine
        vitals = await engine.vitals(flushed_to=self._stream_id)
        board = await engine.pulse_board().read()
        return _RedisView(vitals, _workers(board.sheets.values(), board.now_ms))

    async def _ask_postgres(self) -> _PostgresView:
        database = self._inventory.database
        cursor = await ledger_state.cursor(database, PARTITION)
        return _PostgresView(cursor, await ledger_state.flusher(database, PARTITION))

    def _redis_trouble(self, vitals: Vitals) -> str:
        engine = self._inventory.engine
        if engine.refusal:
            return engine.refusal
        if vitals.epoch != engine.epoch:
            return "empty" if vitals.epoch == 0 else f"epoch {vitals.epoch}, this process serves {engine.epoch}"
        if not engine.connected:
            return "no connection for commands"
        return OK if vitals.aof_write_ok else "cannot write its append-only file"

    def _postgres_trouble(self, outcome: _PostgresView | BaseException) -> str:
        if isinstance(outcome, NoAnswer):
            return str(outcome)
        if isinstance(outcome, BaseException):
            return "unavailable"
        epoch, cursor = self._inventory.engine.epoch, outcome.cursor
        if cursor is None or cursor.epoch != epoch:
            return f"epoch {cursor.epoch if cursor else 'missing'}, this process serves {epoch}"
        return OK


_pulse: Final = msgspec.msgpack.Decoder(ProcessPulse).decode


def _workers(sheets: Any, now_ms: int) -> list[ProcessPulse]:
    found = []
    for raw in sheets:
        try:
            pulse = _pulse(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # of another kind, or another version
        if pulse.role == "worker" and now_ms - pulse.at_ms < WORKER_SILENT_MS:
            found.append(pulse)
    return found


def _flusher_trouble(ledger: _PostgresView | None) -> str:
    if ledger is None:
        return _UNKNOWN
    report = ledger.flusher
    if report is None:
        return "has never run"
    if report.state != "running":
        return f"{report.state}: {report.reason}" if report.reason else report.state
    return OK if report.alive else f"silent for {report.heartbeat_age_ms // 1000} s"


def _configuration_trouble(vitals: Vitals | None) -> str:
    if vitals is None:
        return OK  # nobody can tell; `redis` says why
    troubles: Sequence[str] = [
        told
        for wrong, told in (
            (vitals.eviction_policy not in {"", "noeviction"}, f"maxmemory-policy is {vitals.eviction_policy}"),
            (not vitals.aof_enabled, "appendonly is no"),
            (vitals.role not in {"", "master"}, f"the server is a {vitals.role}"),
        )
        if wrong
    ]
    return "; ".join(troubles) or OK


def _sweeper_trouble(vitals: Vitals | None, worker: ProcessPulse | None) -> str:
    if vitals is None or worker is None or worker.sweeper is None:
        return _UNKNOWN
    sweeper = worker.sweeper
    if sweeper.paused:
        return "paused: the server's clock has jumped"
    if sweeper.stuck:
        return f"{sweeper.stuck} due holds cannot be ended"
    if vitals.oldest_due_ms > SWEEP_LATE_MS:
        return f"a hold has been due for {vitals.oldest_due_ms / 1000:.0f} s"
    return OK


def _ledger_trouble(vitals: Vitals | None, worker: ProcessPulse | None, lag: int | None) -> str:
    age_ms = 0
    if vitals is not None:
        age_ms = vitals.oldest_unflushed_ms if lag else 0
    elif worker is not None and worker.flusher is not None:
        age_ms = worker.flusher.lag_ms
    return f"{age_ms / 1000:.0f} s behind the journal" if age_ms > LEDGER_LATE_MS else OK


def _replica_trouble(vitals: Vitals | None, wanted: int) -> str:
    if vitals is None:
        return _UNKNOWN if wanted else OK
    if vitals.replicas >= wanted:
        return OK
    return f"{vitals.replicas} of {wanted} follow: durability `replicated` answers nobody"


def _memory_trouble(vitals: Vitals | None) -> str:
    if vitals is None or not vitals.memory_limit_bytes:
        return OK
    share = vitals.memory_used_bytes / vitals.memory_limit_bytes
    return f"{share:.0%} of the limit is used" if share >= MEMORY_TIGHT else OK
