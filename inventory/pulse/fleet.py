"""All processes of a service put together: rates of the last seconds, lags, and what customers did not get.

Owns the adding up, and one look shared by everybody who asks at the same time. Never writes; what cannot be asked is
None, never a guess.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from engine.errors import Unavailable
from engine.vitals import Vitals
from inventory.context import PARTITION
from inventory.pulse.sheets import LATENCY_BOUNDS_S, Counts, FlusherSheet, LostDemand, ProcessPulse, SweeperSheet, added
from inventory.pulse.writer import LOST_SUFFIX
from inventory.readiness import Readiness, ReadinessCheck

if TYPE_CHECKING:
    from engine.pulse_board import Board
    from inventory.context import Inventory

STALE_MS: Final = 5_000
"""A process that has told nothing for this long is left out."""
SOON_MS: Final = 60_000
"""Holds that end within this time are told as expiring soon."""
SHARED_S: Final = 0.5
"""A look that is no older is given to the next who asks."""
PATIENCE_S: Final = 2.0
"""How long a look waits for Redis."""

_REFUSALS: Final = ("insufficient_stock", "unknown_sku", "product_inactive")
_NO_PROCESS: Final[Sequence[ProcessPulse]] = ()


class Fleet(Struct, frozen=True, kw_only=True):
    """The service at one moment. Rates are per second over about the last five, and 0 while Redis cannot be asked."""

    at_ms: int
    """The Redis server's clock; this process's own when Redis cannot be asked."""
    readiness: Readiness
    """`ok`, or what is the matter, for redis, postgres, flusher, sweeper and the rest."""
    processes: tuple[ProcessPulse, ...]
    """Those that have told something lately; by name."""
    requests_per_s: float
    errors_per_s: float
    """Answers with status 500 and above."""
    reserves_per_s: float
    """Holds made."""
    confirms_per_s: float
    releases_per_s: float
    expiries_per_s: float
    rejections_per_s: float
    """Reserves and amends that were refused for what they asked."""
    problems_per_s: dict[str, float]
    """Problem code -> answers that carried it."""
    latency_ms: dict[str, float]
    """`p50`, `p95`, `p99` of the hot path, to the upper bound of their bucket; empty while nothing was asked."""
    batch_commands: float | None
    """Commands in a batch, mean; None while there was none."""
    batch_ms: float | None
    """From the sending of a batch to its answer, mean."""
    queue_depth: int
    connections: int
    journal_lag_events: int | None
    journal_lag_s: float | None
    sweep_lag_s: float | None
    """How long the oldest due hold has been due."""
    live_holds: int | None
    expiring_soon: int | None
    """Live holds that end within SOON_MS."""
    flusher: FlusherSheet | None
    sweeper: SweeperSheet | None
    vitals: Vitals | None
    """Redis and the partition; None while Redis gives no answer."""
    lost_demand: tuple[LostDemand, ...]
    """By SKU, all processes added up, the busiest first; since those processes were started."""

    def lost(self, sku: str) -> LostDemand | None:
        """What was asked for of one SKU and not given."""
        return next((one for one in self.lost_demand if one.sku == sku), None)


class FleetReader:
    """Use one for each process; `read` may be called as often as anybody likes."""

    def __init__(self, inventory: Inventory, check: ReadinessCheck | None = None) -> None:
        self._inventory = inventory
        self._check = check or ReadinessCheck(inventory)
        self._looking: asyncio.Task[Fleet] | None = None
        self._looked_at = 0.0

    async def read(self) -> Fleet:
        """The service now, or up to SHARED_S ago. Never raises for a server that is away."""
        now = time.monotonic()
        if self._looking is None or (self._looking.done() and now - self._looked_at > SHARED_S):
            self._looking = asyncio.get_running_loop().create_task(self._look())
            self._looked_at = now
        return await asyncio.shield(self._looking)

    async def _look(self) -> Fleet:
        engine, watermark = self._inventory.engine, self._inventory.watermark
        board: Board | None = None
        vitals: Vitals | None = None
        readiness = await self._check.look()
        if not readiness.redis_silent:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    flushed_to = watermark.vouched(PARTITION).stream_id or readiness.stream_id
                    vitals = await engine.vitals(soon_ms=SOON_MS, flushed_to=flushed_to)
                    board = await engine.pulse_board().read()
            except (Unavailable, TimeoutError):
                pass
        self._looked_at = time.monotonic()
        return put_together(board, vitals, readiness, watermark.position(PARTITION))


def put_together(board: Board | None, vitals: Vitals | None, readiness: Readiness, ledger: tuple[int, int]) -> Fleet:
    """What a board, a look at Redis and one at readiness say together; `ledger`: (epoch, seq) that is committed."""
    pulses = _pulses(board)
    recent = [(pulse.recent, pulse.window_s) for pulse in pulses]
    flusher = _freshest(pulse for pulse in pulses if pulse.flusher is not None)
    sweeper = _freshest(pulse for pulse in pulses if pulse.sweeper is not None)
    lag_events, lag_s = _journal_lag(vitals, flusher.flusher if flusher else None, ledger)
    batches, commands, batch_s = (
        sum(counts.batches for counts, _ in recent),
        sum(counts.commands for counts, _ in recent),
        sum(counts.batch_seconds for counts, _ in recent),
    )

    def rate(command: str, *statuses: str) -> float:
        return sum(counts.outcome(command, *statuses) / window_s for counts, window_s in recent)

    return Fleet(
        at_ms=vitals.now_ms if vitals is not None else round(time.time() * 1000),
        readiness=readiness,
        processes=tuple(pulses),
        requests_per_s=sum(counts.requests / window_s for counts, window_s in recent),
        errors_per_s=sum(counts.errors / window_s for counts, window_s in recent),
        reserves_per_s=rate("reserve", "ok"),
        confirms_per_s=rate("confirm", "ok"),
        releases_per_s=rate("release", "ok"),
        expiries_per_s=rate("expire", "ok"),
        rejections_per_s=rate("reserve", *_REFUSALS) + rate("amend", *_REFUSALS),
        problems_per_s=_problem_rates(recent),
        latency_ms=quantiles_ms([counts.latency for counts, _ in recent]),
        batch_commands=commands / batches if batches else None,
        batch_ms=1000 * batch_s / batches if batches else None,
        queue_depth=sum(pulse.queue_depth for pulse in pulses),
        connections=sum(pulse.connections for pulse in pulses),
        journal_lag_events=lag_events,
        journal_lag_s=lag_s,
        sweep_lag_s=None if vitals is None else vitals.oldest_due_ms / 1000,
        live_holds=None if vitals is None else vitals.live_holds,
        expiring_soon=None if vitals is None else vitals.expiring_soon,
        flusher=flusher.flusher if flusher else None,
        sweeper=sweeper.sweeper if sweeper else None,
        vitals=vitals,
        lost_demand=_lost_demand(board),
    )


def quantiles_ms(histograms: Iterable[Sequence[int]]) -> dict[str, float]:
    """p50, p95 and p99 of several histograms over LATENCY_BOUNDS_S, each the upper bound of its bucket in ms."""
    buckets = [sum(column) for column in zip(*histograms, strict=True)]
    total = sum(buckets)
    if not total:
        return {}
    found = {}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        seen = 0
        for place, count in enumerate(buckets):
            seen += count
            if seen >= share * total:
                found[name] = 1000 * LATENCY_BOUNDS_S[min(place, len(LATENCY_BOUNDS_S) - 1)]
                break
    return found


_decode_pulse = msgspec.msgpack.Decoder(ProcessPulse).decode
_decode_lost = msgspec.msgpack.Decoder(tuple[LostDemand, ...]).decode


def _pulses(board: Board | None) -> Sequence[ProcessPulse]:
    if board is None:
        return _NO_PROCESS
    found = []
    for name, raw in board.sheets.items():
        if name.endswith(LOST_SUFFIX):
            continue
        try:
            pulse = _decode_pulse(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # of another version
        if board.now_ms - pulse.at_ms < STALE_MS:
            found.append(pulse)
    return sorted(found, key=lambda pulse: (pulse.role, pulse.host, pulse.process, pulse.pid))


def _freshest(pulses: Iterable[ProcessPulse]) -> ProcessPulse | None:
    return max(pulses, key=lambda pulse: pulse.at_ms, default=None)


def _journal_lag(
    vitals: Vitals | None, flusher: FlusherSheet | None, ledger: tuple[int, int]
) -> tuple[int | None, float | None]:
    if vitals is None:
        return None, None
    epoch, seq = ledger
    if epoch != vitals.epoch:
        return (None, None) if flusher is None else (flusher.lag_events, flusher.lag_ms / 1000)
    events = max(0, vitals.seq - seq)
    # An entry that is being flushed at this moment is behind the position as well: that is no lag.
    return events, vitals.oldest_unflushed_ms / 1000 if events else 0.0


def _problem_rates(recent: Sequence[tuple[Counts, float]]) -> dict[str, float]:
    rates: dict[str, float] = {}
    for counts, window_s in recent:
        for code, count in counts.problems.items():
            rates[code] = rates.get(code, 0.0) + count / window_s
    return dict(sorted(rates.items(), key=lambda item: -item[1]))


def _lost_demand(board: Board | None) -> tuple[LostDemand, ...]:
    if board is None:
        return ()
    requests: list[dict[str, int]] = []
    units: list[dict[str, int]] = []
    at_ms: dict[str, int] = {}
    for name, raw in board.sheets.items():
        if not name.endswith(LOST_SUFFIX):
            continue
        try:
            told = _decode_lost(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        requests.append({one.sku: one.requests for one in told})
        units.append({one.sku: one.units for one in told})
        for one in told:
            at_ms[one.sku] = max(at_ms.get(one.sku, 0), one.at_ms)
    all_units = added(units)
    found = [LostDemand(sku, count, all_units[sku], at_ms[sku]) for sku, count in added(requests).items()]
    return tuple(sorted(found, key=lambda one: (-one.requests, one.sku)))
