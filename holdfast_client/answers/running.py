"""Keys, audit, jobs, webhooks, health and reconciliation, as the service answers them. Shapes only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

Role = Literal["storefront", "auditor", "operator", "manager", "admin"]


class Key(Struct, frozen=True):
    """An API key, without the key."""

    id: str
    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None


class NewKey(Struct, frozen=True):
    """A new API key: this is the only time that it is shown, and no repr shows it."""

    id: str
    name: str
    role: Role
    key: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r}, name={self.name!r}, role={self.role!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("id", self.id), ("name", self.name), ("role", self.role)]


class AuditEntry(Struct, frozen=True):
    """One administrative request. `status` is None while it runs, and for ever if the service died before its end."""

    id: int
    at: datetime
    key_id: str
    key_name: str
    role: str
    action: str
    method: str
    route: str
    target: str | None
    request_id: str
    idempotency_key: bool
    """Whether the request carried one."""
    status: int | None
    code: str | None
    duration_ms: int | None


class JobRun(Struct, frozen=True):
    """One run of a background job."""

    status: str
    """running, ok, failed or killed."""
    started_at: datetime
    ended_at: datetime | None
    duration_ms: int | None
    arguments: str
    result: str


class Job(Struct, frozen=True):
    """A background job. `schedule`: cron text, seconds between two runs, or None: when asked for."""

    name: str
    description: str
    schedule: str | int | None
    health: str
    """ok, running, never ran, failed, killed, lost or overdue."""
    last_run: JobRun | None
    last_ok_at: datetime | None
    next_run_at: datetime | None


class Jobs(Struct, frozen=True):
    """Every job. `queue_reachable`: False while nothing can be scheduled."""

    items: list[Job]
    queue_reachable: bool


class JobRuns(Struct, frozen=True):
    """The latest runs of a job, newest first."""

    items: list[JobRun]


class Webhook(Struct, frozen=True, kw_only=True):
    """A webhook. `secret` is there when it was just made or rotated, and in no repr."""

    id: str
    url: str
    events: list[str]
    status: str
    """active or disabled."""
    reason: str | None
    created_by: str
    created_at: datetime
    disabled_at: datetime | None
    failing_since: datetime | None
    failures: int
    resumes_at: datetime | None
    last_delivered_at: datetime | None
    previous_secret_until: datetime | None
    secret: str | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"Webhook(id={self.id!r}, url={self.url!r}, status={self.status!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("id", self.id), ("url", self.url), ("status", self.status)]


class Delivery(Struct, frozen=True, kw_only=True):
    """One event for one webhook, and how its delivery stands."""

    id: int
    webhook_id: str
    event_id: str
    type: str
    status: str
    """PENDING, DELIVERED, FAILED or DISCARDED."""
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    last_attempt_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None


class Drift(Struct, frozen=True):
    """One difference. `expected` is what ledger and journal say."""

    sku: str
    counter: str
    expected: int
    actual: int
    reservation_id: str | None
    detail: str


class Check(Struct, frozen=True):
    """One statement that must be true."""

    invariant: str
    statement: str
    looked_at: int
    differences: int


class Reconciliation(Struct, frozen=True):
    """Counters, live holds, journal and ledger against each other, at one event."""

    status: Literal["ok", "drift"]
    checked_skus: int
    checked_holds: int
    drift: list[Drift]
    drift_found: int
    checks: list[Check]
    journal_lag_events: int
    epoch: int
    seq: int
    as_of: datetime
    took_ms: int


class Health(Struct, frozen=True):
    """The process answers."""

    status: str


class Readiness(Struct, frozen=True):
    """Whether requests can be served, and what stands in the way of it."""

    status: str
    """ready or not-ready."""
    redis: str
    postgres: str
    flusher: str
    epoch: int
    journal_lag_events: int | None
    configuration: str = "ok"
    """Of Redis: as a start would accept it."""
    worker: str = "ok"
    """This part and those below keep nothing from being served; somebody should look at them all the same."""
    sweeper: str = "ok"
    ledger: str = "ok"
    back_pressure: str = "ok"
    memory: str = "ok"
    replicas: str = "ok"
    obstacles: list[str] = []
    """Parts that keep requests from being served."""
    degraded: list[str] = []
    """Parts that are not `ok` although requests are served."""


class Rates(Struct, frozen=True, kw_only=True):
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


class Latency(Struct, frozen=True):
    """Of reservations, in ms; None while nothing was asked."""

    p50: float | None
    p95: float | None
    p99: float | None


class Process(Struct, frozen=True, kw_only=True):
    """One process of the service."""

    process: str
    role: str
    """api or worker."""
    host: str
    pid: int
    up_seconds: int
    requests_per_s: float
    queue_depth: int
    connections: int
    memory_bytes: int
    refusal: str | None
    """Why it serves nothing; None when it does."""


class LostDemand(Struct, frozen=True):
    """What customers asked for of a SKU and did not get, since the processes were started."""

    sku: str
    requests: int
    units: int
    latest_at: datetime


class Pulse(Struct, frozen=True, kw_only=True):
    """The whole service at one moment. What cannot be asked at present is None."""

    at: datetime
    ready: bool
    health: dict[str, str]
    """Part by part: ok, or what is the matter."""
    rates: Rates
    problems_per_s: dict[str, float]
    latency_ms: Latency
    batch_commands: float | None
    batch_ms: float | None
    queue_depth: int
    connections: int
    journal_lag_events: int | None
    journal_lag_seconds: float | None
    sweep_lag_seconds: float | None
    live_holds: int | None
    expiring_soon: int | None
    """Holds that end within five minutes."""
    memory_used_bytes: int | None
    """Of Redis."""
    memory_limit_bytes: int | None
    """0: there is none."""
    processes: list[Process]
    lost_demand: list[LostDemand]
    """The most refused first."""
