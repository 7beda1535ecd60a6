"""Answer of the pulse route, as structs. Owns shapes, no behaviour."""

from __future__ import annotations

from msgspec import Struct

from api.schemas.shop import Time


class RatesView(Struct, frozen=True, kw_only=True):
    """Per second, over about the last five."""

    requests: float
    errors: float
    """Answers with status 500 and above."""
    reserves: float
    """Holds made."""
    confirms: float
    releases: float
    expiries: float
    rejections: float
    """Reserves and amends that were refused for what they asked."""


class LatencyView(Struct, frozen=True):
    """Of the hot path, in ms, each to the upper bound of its bucket; null while nothing was asked."""

    p50: float | None
    p95: float | None
    p99: float | None


class ProcessView(Struct, frozen=True, kw_only=True):
    """One process of the service."""

    process: str
    role: str
    """`api` or `worker`."""
    host: str
    pid: int
    up_seconds: int
    requests_per_s: float
    queue_depth: int
    connections: int
    memory_bytes: int
    refusal: str | None
    """Why it serves nothing; null when it does."""


class LostDemandView(Struct, frozen=True):
    """What customers asked for of a SKU and did not get, since the processes were started."""

    sku: str
    requests: int
    units: int
    latest_at: Time


class PulseView(Struct, frozen=True, kw_only=True):
    """The whole service at one moment. What cannot be asked at present is null, never a guess."""

    at: Time
    ready: bool
    """Requests can be served."""
    health: dict[str, str]
    """Part by part: `ok`, or what is the matter."""
    rates: RatesView
    problems_per_s: dict[str, float]
    """Problem code -> answers that carried it."""
    latency_ms: LatencyView
    batch_commands: float | None
    """Commands in a batch, mean."""
    batch_ms: float | None
    """From the sending of a batch to its answer, mean."""
    queue_depth: int
    connections: int
    journal_lag_events: int | None
    journal_lag_seconds: float | None
    sweep_lag_seconds: float | None
    """How long the oldest due hold has been due."""
    live_holds: int | None
    expiring_soon: int | None
    """Holds that end within five minutes."""
    memory_used_bytes: int | None
    """Of Redis."""
    memory_limit_bytes: int | None
    """0: there is none."""
    processes: list[ProcessView]
    lost_demand: list[LostDemandView]
    """The most refused first; at most 50."""
