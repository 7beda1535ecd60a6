"""What the overview shows of the whole service, once a second: rates, latency, how far the ledger is, who is well.

Owns the shape that the browser gets. Counting and putting together is the pulse's (inventory/pulse/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from inventory.readiness import OK

if TYPE_CHECKING:
    from inventory.pulse.fleet import Fleet

PARTS: Final = ("redis", "postgres", "flusher", "sweeper", "worker", "ledger", "back_pressure", "memory", "replicas")
"""Of the service, as readiness names them, in the order in which people ask."""


class Lost(Struct, frozen=True, array_like=True):
    """Demand for a SKU that was turned away since the processes that answer were started."""

    requests: int
    units: int


class Figures(Struct, frozen=True, kw_only=True):
    """One look. Rates are a second, over about the last five; None: not known now."""

    requests: float
    reserves: float
    confirms: float
    releases: float
    expiries: float
    rejections: float
    errors: float
    p50_ms: float | None
    p99_ms: float | None
    lag_events: int | None
    lag_s: float | None
    holds: int | None
    expiring_soon: int | None
    """Holds that end within a minute."""
    processes: int
    trouble: dict[str, str]
    """Part of the service -> what is the matter; empty text: nothing."""


def figures_of(fleet: Fleet) -> Figures:
    """What the browser gets of a look at the service."""
    ready = fleet.readiness
    return Figures(
        requests=round(fleet.requests_per_s, 1),
        reserves=round(fleet.reserves_per_s, 1),
        confirms=round(fleet.confirms_per_s, 1),
        releases=round(fleet.releases_per_s, 1),
        expiries=round(fleet.expiries_per_s, 1),
        rejections=round(fleet.rejections_per_s, 1),
        errors=round(fleet.errors_per_s, 1),
        p50_ms=fleet.latency_ms.get("p50"),
        p99_ms=fleet.latency_ms.get("p99"),
        lag_events=fleet.journal_lag_events,
        lag_s=None if fleet.journal_lag_s is None else round(fleet.journal_lag_s, 2),
        holds=fleet.live_holds,
        expiring_soon=fleet.expiring_soon,
        processes=len(fleet.processes),
        trouble={part: "" if (said := getattr(ready, part)) == OK else said for part in PARTS},
    )


def lost_of(fleet: Fleet, skus: tuple[str, ...]) -> dict[str, Lost]:
    """What was turned away of these SKUs, as far as it is among the busiest."""
    wanted = set(skus)
    return {one.sku: Lost(one.requests, one.units) for one in fleet.lost_demand if one.sku in wanted}
