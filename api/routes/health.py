"""/healthz, /readyz and /metrics: for whatever watches the service. Needs no key, shows no business data."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response

from api.openapi import operation
from api.requests import ServicesDep, json_answer
from api.routes.jobs import job_metrics
from api.schemas.shop import HealthView, ReadinessView
from engine.errors import Unavailable
from inventory.context import PARTITION
from persistence.database import DatabaseUnavailable
from persistence.queries import ledger_state, reconciliation

if TYPE_CHECKING:
    from api.services import Services

router = APIRouter(tags=["running it"])

METRICS_PATIENCE_S: Final = 1.0
"""How long a scrape waits for what Postgres knows."""


@router.get("/healthz", summary="Is the process alive?", **operation({200: HealthView}, guarded=False))
async def healthz() -> Response:
    """Answers as long as the process can answer anything."""
    return json_answer(HealthView("alive"))


@router.get(
    "/readyz",
    summary="Can requests be served?",
    **operation({200: ReadinessView, 503: ReadinessView}, guarded=False),
)
async def readyz(services: ServicesDep) -> Response:
    """Redis, Postgres, the epoch both agree on, and a flusher that is alive; 503 with the reason otherwise."""
    view = await readiness(services)
    if view.status == "ready":
        return json_answer(view)
    return json_answer(view, 503, {"Retry-After": "2"})


async def readiness(services: Services) -> ReadinessView:
    """What stands in the way, part by part; `ok` where nothing does."""
    redis, postgres, flusher = "ok", "ok", "ok"
    epoch = services.engine.epoch
    lag: int | None = None
    journal = None
    try:
        journal = await services.engine.journal_state()
        if journal.epoch != epoch:
            redis = "empty" if journal.epoch == 0 else f"epoch {journal.epoch}, this process serves {epoch}"
        elif not services.engine.connected:
            redis = "no connection for commands"
        if services.engine.refusal:
            redis = services.engine.refusal
    except Unavailable as error:
        redis = str(error) or "unavailable"
    try:
        cursor = await ledger_state.cursor(services.database)
        if cursor is None or cursor.epoch != epoch:
            postgres = f"epoch {cursor.epoch if cursor else 'missing'}, this process serves {epoch}"
        elif journal is not None:
            lag = max(0, journal.seq - cursor.seq)
        flusher = _flusher_trouble(await ledger_state.flusher(services.database)) or "ok"
    except DatabaseUnavailable:
        postgres = "unavailable"
        flusher = "unknown"
    ready = redis == postgres == flusher == "ok"
    return ReadinessView("ready" if ready else "not-ready", redis, postgres, flusher, epoch, lag)


def _flusher_trouble(report: ledger_state.FlusherReport | None) -> str:
    if report is None:
        return "has never run"
    if report.state != "running":
        return f"{report.state}: {report.reason}" if report.reason else report.state
    return "" if report.alive else f"silent for {report.heartbeat_age_ms // 1000} s"


@router.get("/metrics", summary="Prometheus metrics", include_in_schema=True, response_class=Response)
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Counters of all API processes of this service, gauges of the process asked."""
    engine = services.engine
    gauges: dict[str, tuple[str, float]] = {
        "holdfast_engine_queue_depth": ("Commands waiting for a batch", engine.queue_depth),
        "holdfast_engine_batches_in_flight": ("Batches sent and not yet answered", engine.in_flight),
        "holdfast_engine_connected": ("1 while Redis can be reached", engine.connected),
    }
    gauges |= await _reconciliation_gauges(services)
    text = request.app.state.metrics.render(gauges, await job_metrics(services))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _reconciliation_gauges(services: Services) -> dict[str, tuple[str, float]]:
    """Of the latest scheduled run; nothing while Postgres cannot tell, so that a scrape never waits for it."""
    try:
        async with asyncio.timeout(METRICS_PATIENCE_S):
            latest = await reconciliation.latest(services.database, PARTITION)
    except (DatabaseUnavailable, TimeoutError):
        return {}
    if latest is None:
        return {}
    return {
        "holdfast_reconciliation_differences": ("Differences the latest scheduled reconciliation found", latest.found),
        "holdfast_reconciliation_age_seconds": ("Time since that reconciliation", latest.age_s),
        "holdfast_reconciliation_duration_seconds": ("How long it took", latest.took_ms / 1000),
    }
