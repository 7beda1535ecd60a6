"""The life of an alert as a pure function: what a SKU's alert was, what its stock is now, what the alert becomes.

Owns every rule of raising, easing, muting, resolving and coming back; never reads a clock, a counter or a table.

    (none) --low/out--> open --recovered--> fading or over
                         | ^                  | low/out again soon: the same alert, quietly
                         | '------------------'
                         '--a person resolves--> muted --recovered--> over
                                                   '--worse--> over, and a new one is open
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from inventory.rules import AlertRules
from persistence.queries.alerts import Alert, AlertKind

StockEvent = Literal["stock.low", "stock.out", "stock.back"]

SYSTEM: Final = "system"
"""`resolved_by` of an alert that ended by itself."""


class Sighting(Struct, frozen=True):
    """A SKU's stock at one moment, and the settings that judge it."""

    sku: str
    available: int
    threshold: int
    active: bool
    stocked: bool
    """False for a SKU that has never had any stock: nothing is missing there."""
    arrived: bool
    """Stock has come in since the sighting before, rather than held units going back."""
    at_ms: int


class Outcome(Struct, frozen=True):
    """What a sighting makes of an alert."""

    ended: Alert | None
    """The alert that was current, as it is kept from now on; None if it goes on or there was none."""
    current: Alert | None
    """The alert that is current from now on."""
    events: tuple[StockEvent, ...] = ()
    """What the outside is told, in order."""


def margin(threshold: int, rules: AlertRules) -> int:
    """Units above the threshold at which a SKU has recovered: the percentage rounded up, at least 1."""
    return max(1, -(-threshold * rules.hysteresis_percent // 100))


def observe(current: Alert | None, seen: Sighting, rules: AlertRules) -> Outcome:
    """The next state. `current` is the SKU's alert that is not over, if it has one."""
    wanted = _wanted(seen)
    if current is None or current.episode == "over":
        return Outcome(None, None) if wanted is None else _raised(None, seen, wanted)
    recovered = not seen.active or seen.available >= _enough(seen, rules)
    if current.episode == "open":
        return _open(current, seen, wanted, recovered, rules)
    if current.episode == "muted":
        if recovered:
            return Outcome(replace(current, episode="over"), None, ("stock.back",) if seen.active else ())
        if wanted == "OUT_OF_STOCK" and current.kind == "LOW_STOCK":
            return _raised(replace(current, episode="over"), seen, wanted)
        return Outcome(None, current)
    return _fading(current, seen, wanted)


def _wanted(seen: Sighting) -> AlertKind | None:
    if not seen.active or not seen.stocked:
        return None
    if seen.available == 0:
        return "OUT_OF_STOCK"
    return "LOW_STOCK" if seen.available < seen.threshold else None


def _enough(seen: Sighting, rules: AlertRules) -> int:
    return seen.threshold + margin(seen.threshold, rules) if seen.threshold else 1


def _event_of(kind: AlertKind) -> StockEvent:
    return "stock.out" if kind == "OUT_OF_STOCK" else "stock.low"


def _raised(ended: Alert | None, seen: Sighting, kind: AlertKind) -> Outcome:
    alert = Alert(
        sku=seen.sku,
        kind=kind,
        status="PENDING",
        episode="open",
        available=seen.available,
        threshold=seen.threshold,
        raised_ms=seen.at_ms,
        changed_ms=seen.at_ms,
    )
    return Outcome(ended, alert, (_event_of(kind),))


def _open(current: Alert, seen: Sighting, wanted: AlertKind | None, recovered: bool, rules: AlertRules) -> Outcome:
    if recovered:
        return _resolved(current, seen, rules)
    if wanted == "OUT_OF_STOCK":
        return Outcome(None, current) if current.kind == wanted else _worse(current, seen)
    if current.kind == "OUT_OF_STOCK" and seen.available > 0:
        eased = _changed(current, seen, "LOW_STOCK")
        return Outcome(None, replace(eased, fades_ms=_fades(seen, rules)), ("stock.back",))
    return Outcome(None, current)


def _worse(current: Alert, seen: Sighting) -> Outcome:
    worse = _changed(current, seen, "OUT_OF_STOCK")
    if not _soon(current, seen):
        worse = replace(worse, status="PENDING", notified_ms=None, fades_ms=None, told_again=True)
    return Outcome(None, worse, ("stock.out",))


def _resolved(current: Alert, seen: Sighting, rules: AlertRules) -> Outcome:
    fades_ms = _fades(seen, rules) if seen.active else None
    resolved = replace(
        current,
        status="RESOLVED",
        episode="over" if fades_ms is None else "fading",
        resolved_ms=seen.at_ms,
        resolved_by=SYSTEM,
        fades_ms=fades_ms,
    )
    events: tuple[StockEvent, ...] = ("stock.back",) if seen.active else ()
    return Outcome(resolved, None, events) if fades_ms is None else Outcome(None, resolved, events)


def _fading(current: Alert, seen: Sighting, wanted: AlertKind | None) -> Outcome:
    over = replace(current, episode="over")
    if wanted is None:
        # What came in from outside ends the episode for good; so does leaving the range of products.
        return Outcome(over, None) if seen.arrived or not seen.active else Outcome(None, current)
    if not _soon(current, seen):
        return _raised(over, seen, wanted)
    again = replace(
        _changed(current, seen, wanted),
        status="PENDING" if current.notified_ms is None else "NOTIFIED",
        episode="open",
        resolved_ms=None,
        resolved_by=None,
    )
    if wanted == "OUT_OF_STOCK" and current.kind == "LOW_STOCK":
        again = replace(again, status="PENDING", notified_ms=None, fades_ms=None, told_again=True)
    return Outcome(None, again, (_event_of(wanted),))


def _changed(current: Alert, seen: Sighting, kind: AlertKind) -> Alert:
    return replace(current, kind=kind, available=seen.available, threshold=seen.threshold, changed_ms=seen.at_ms)


def _fades(seen: Sighting, rules: AlertRules) -> int | None:
    return None if seen.arrived or rules.quiet_ms == 0 else seen.at_ms + rules.quiet_ms


def _soon(current: Alert, seen: Sighting) -> bool:
    return current.fades_ms is not None and not seen.arrived and seen.at_ms < current.fades_ms
