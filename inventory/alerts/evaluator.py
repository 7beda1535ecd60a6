"""The evaluator of alerts: reads what the journal says of each SKU's balances and keeps its alert in step.

Owns the way from events to sightings and from outcomes to rows and announcements; never holds a rule (states.py), a
statement (persistence/queries/) or a memory of alerts: each batch asks the table, so two evaluators or a restart change
nothing. Only settings of SKUs are remembered, and each `configure` event corrects them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from engine.events import Adjusted, Announced, Configured, event_lines
from engine.results import StockLevel
from inventory.alerts.states import Outcome, Sighting, StockEvent, observe
from inventory.context import PARTITION
from inventory.events.announcements import announce
from inventory.rules import AlertRules
from persistence.database import Transaction
from persistence.journal_entries import BadEvent, JournalEntry
from persistence.queries import alerts, sales_pace
from persistence.queries.alerts import Alert

SKUS_REMEMBERED: Final = 200_000

_log = structlog.get_logger("holdfast.alerts")

LevelsOf = Callable[[Sequence[str]], Awaitable[list[StockLevel]]]


class StockNews(Struct, frozen=True):
    """What `stock.low`, `stock.out` and `stock.back` tell. Quantities in units."""

    alert_id: int
    sku: str
    state: str
    """As in the lists: IN_STOCK, LOW_STOCK or OUT_OF_STOCK."""
    available: int
    low_stock_threshold: int
    sell_out_seconds: int | None


class Watched(Struct, frozen=True):
    """One SKU in one batch: the moment it was out, if it was and is no longer, and the end of the batch."""

    sightings: tuple[Sighting, ...]
    epoch: int
    seq: int


class Settings(Struct, frozen=True):
    """What judges a SKU."""

    safety_stock: int
    threshold: int
    active: bool


class _Balance:
    """A SKU's balances while a batch is read."""

    __slots__ = ("arrived", "epoch", "free", "on_hand", "seen_ms", "seq", "stocked", "zero")

    def __init__(self) -> None:
        self.zero: tuple[int, bool] | None = None
        self.arrived = self.stocked = False
        self.free = self.on_hand = self.seen_ms = self.epoch = self.seq = 0


class StockAlerts:
    """A consumer of the journal (worker/follower.py). `levels_of`: the engine's counters of some SKUs, live."""

    name = "alerts"

    def __init__(self, levels_of: LevelsOf, rules: AlertRules) -> None:
        self._levels_of = levels_of
        self._rules = rules
        self._settings: dict[str, Settings] = {}

    async def take(self, transaction: Transaction, entries: Sequence[JournalEntry]) -> None:
        """Bring alerts up to the last of `entries`, in the caller's transaction.

        Raises engine.errors.Unavailable when the settings of a SKU it meets for the first time cannot be asked for.
        """
        await self._learn(entries)
        watched = self._read(entries)
        if watched:
            await alerts.following(transaction)
            await evaluate(transaction, watched, self._rules)

    async def committed(self) -> None:
        """Nothing more to do: announcements and mails have their own senders."""

    async def _learn(self, entries: Iterable[JournalEntry]) -> None:
        """Ask the engine for the settings of SKUs that are new here. What it says may be newer than the events: then
        the `configure` event that made it so is still to come, and says it again.
        """
        if len(self._settings) > SKUS_REMEMBERED:
            self._settings.clear()
        new = {
            part.partition("=")[0]
            for entry in entries
            for event in entry.events
            if not isinstance(event, BadEvent | Announced)
            for part in event.lines.split(",")
        }
        new -= self._settings.keys()
        if new:
            for level in await self._levels_of(sorted(new)):
                self._settings[level.sku] = Settings(level.safety_stock, level.low_stock_threshold, level.active)

    def _read(self, entries: Iterable[JournalEntry]) -> dict[str, Watched]:
        balances: dict[str, _Balance] = {}
        for entry in entries:
            for place, event in enumerate(entry.events):
                if isinstance(event, BadEvent | Announced):
                    continue
                try:
                    lines = event_lines(event.lines)
                except ValueError:
                    _log.warning("event passed over: its lines cannot be read", seq=entry.first_seq + place)
                    continue
                configured = isinstance(event, Configured)
                # A SKU begins empty, and its opening stock is the next event: that is not running out.
                began = isinstance(event, Configured) and event.created
                if isinstance(event, Configured) and lines:
                    self._settings[lines[0].sku] = Settings(event.safety_stock, event.low_stock_threshold, event.active)
                adjusted = isinstance(event, Adjusted)
                for line in lines:
                    settings = self._settings.get(line.sku)
                    if settings is None:
                        continue
                    balance = balances.get(line.sku)
                    if balance is None:
                        balance = balances[line.sku] = _Balance()
                    # Opening stock, and settings that somebody changed, begin anew as a delivery does.
                    balance.arrived |= (adjusted and line.quantity > 0) or (configured and line.on_hand > 0)
                    balance.stocked |= line.on_hand > 0 or (not configured and line.quantity != 0)
                    balance.on_hand = line.on_hand
                    balance.free = line.on_hand - line.reserved
                    balance.seen_ms = entry.at_ms
                    balance.epoch, balance.seq = entry.epoch, entry.first_seq + place
                    if balance.free <= settings.safety_stock and not began:
                        balance.zero = (entry.at_ms, balance.arrived)
                        balance.arrived = False
        return {sku: self._watched(sku, balance) for sku, balance in balances.items()}

    def _watched(self, sku: str, balance: _Balance) -> Watched:
        settings = self._settings[sku]
        available = max(0, balance.free - settings.safety_stock)
        last = Sighting(
            sku=sku,
            available=available,
            threshold=settings.threshold,
            active=settings.active,
            stocked=balance.stocked,
            arrived=balance.arrived or (available == 0 and balance.zero is not None and balance.zero[1]),
            at_ms=balance.seen_ms,
        )
        if balance.zero is None or available == 0:
            return Watched((last,), balance.epoch, balance.seq)
        zero = replace(last, available=0, at_ms=balance.zero[0], arrived=balance.zero[1])
        return Watched((zero, last), balance.epoch, balance.seq)


async def evaluate(transaction: Transaction, watched: Mapping[str, Watched], rules: AlertRules) -> int:
    """Bring the alerts of these SKUs in step with what was seen of them, and announce it; how many changed.

    What an alert has heard of already (its epoch and seq) is passed over.
    """
    # Nearly every batch changes nothing, and one look is enough to know; only then does it wait for its turn. That look
    # takes every SKU for one that has had stock: those are few that have not, and they are looked up behind it.
    if not _steps(await alerts.current(transaction, watched), _stocked(watched, watched.keys()), rules):
        return 0
    await alerts.one_writer(transaction)
    found = await alerts.current(transaction, watched)
    doubtful = {
        sku for sku, one in watched.items() if sku not in found and not all(seen.stocked for seen in one.sightings)
    }
    known = found.keys() | (await alerts.ever_stocked(transaction, doubtful) if doubtful else set())
    watched = _stocked(watched, known)
    steps = _steps(found, watched, rules)
    await _keep(transaction, steps, watched, rules)
    return len(steps)


def _stocked(watched: Mapping[str, Watched], skus: Set[str]) -> dict[str, Watched]:
    """The same, `skus` being known to have had stock."""
    return {
        sku: replace(one, sightings=tuple(replace(seen, stocked=seen.stocked or sku in skus) for seen in one.sightings))
        for sku, one in watched.items()
    }


class _Step(Struct, frozen=True):
    """What changes for one SKU."""

    ended: tuple[Alert, ...]
    current: Alert | None
    events: tuple[tuple[StockEvent, Sighting], ...]


def _steps(found: Mapping[str, Alert], watched: Mapping[str, Watched], rules: AlertRules) -> dict[str, _Step]:
    steps = {}
    for sku, one in watched.items():
        before = found.get(sku)
        if before is not None and (before.epoch, before.seq) >= (one.epoch, one.seq):
            continue
        step = _step(before, one.sightings, rules)
        if step is not None:
            steps[sku] = step
    return steps


def _step(before: Alert | None, sightings: Iterable[Sighting], rules: AlertRules) -> _Step | None:
    current, ended, events = before, [], []
    for seen in sightings:
        outcome: Outcome = observe(current, seen, rules)
        if outcome.ended is not None:
            ended.append(outcome.ended)
        current = outcome.current
        events += [(event, seen) for event in outcome.events]
    if not ended and (current is before or _same(before, current)):
        return None
    return _Step(tuple(ended), current, tuple(events))


def _same(before: Alert | None, after: Alert | None) -> bool:
    """There and back within one batch, quietly: nothing to keep and nothing to tell."""
    return (
        before is not None
        and after is not None
        and (before.id, before.kind, before.status, before.episode)
        == (after.id, after.kind, after.status, after.episode)
        and not after.told_again
    )


async def _keep(
    transaction: Transaction, steps: Mapping[str, _Step], watched: Mapping[str, Watched], rules: AlertRules
) -> None:
    low = [sku for sku, step in steps.items() if step.current is not None and step.current.kind == "LOW_STOCK"]
    pace = await sales_pace.units_a_second(transaction, low, rules.pace_window_s) if low else {}
    rows = []
    for sku, step in steps.items():
        for alert in (*step.ended, *([step.current] if step.current is not None else [])):
            seconds = alert.sell_out_seconds
            if alert is step.current:
                seconds = sell_out_seconds(alert.available, pace.get(sku))
            rows.append(replace(alert, sell_out_seconds=seconds, epoch=watched[sku].epoch, seq=watched[sku].seq))
    saved: dict[str, Alert] = {}
    for alert in await alerts.save(transaction, rows, PARTITION):
        saved[alert.sku] = alert
        _log.info("alert", id=alert.id, sku=alert.sku, kind=alert.kind, status=alert.status, available=alert.available)
    for sku, step in steps.items():
        for event, seen in step.events:
            await announce(transaction, event, _news(event, seen, saved[sku], pace.get(sku)))


def _news(event: StockEvent, seen: Sighting, alert: Alert, pace: float | None) -> StockNews:
    low = "LOW_STOCK" if seen.available < seen.threshold else "IN_STOCK"
    state = "OUT_OF_STOCK" if seen.available == 0 else low
    seconds = None if event == "stock.back" else sell_out_seconds(seen.available, pace)
    return StockNews(alert.id, alert.sku, state, seen.available, seen.threshold, seconds)


def sell_out_seconds(available: int, units_a_second: float | None) -> int | None:
    """Seconds until nothing is available if sales go on like this: 0 when nothing is, None when nothing sells."""
    if available == 0:
        return 0
    return None if not units_a_second else round(available / units_a_second)
