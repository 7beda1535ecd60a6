"""/healthz, /readyz and /metrics: for whatever watches the service. Needs no key, shows no business data."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response

from api.openapi import operation
from api.requests import ServicesDep, json_answer
from api.routes.jobs import job_metrics
from api.schemas.shop import HealthView, ReadinessView
from inventory.context import PARTITION
from persistence.database import DatabaseUnavailable
from persistence.queries import reconciliation

if TYPE_CHECKING:
    from api.services import Services
    from inventory.readiness import ReadinessCheck

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
async def readyz(request: Request) -> Response:
    """Redis, Postgres, the epoch both agree on, and a flusher that is alive; 503 with the reason otherwise.

    Answers within two seconds even when a server hangs. What should be looked at although requests are served (a
    worker that is silent, a full journal) is named in `degraded`, and the answer is 200.
    """
    check: ReadinessCheck = request.app.state.readiness
    found = await check.look()
    view = ReadinessView(
        status="ready" if found.ready else "not-ready",
        redis=found.redis,
        postgres=found.postgres,
        flusher=found.flusher,
        epoch=found.epoch,
        journal_lag_events=found.journal_lag_events,
        configuration=found.configuration,
        worker=found.worker,
        sweeper=found.sweeper,
        ledger=found.ledger,
        back_pressure=found.back_pressure,
        memory=found.memory,
        obstacles=list(found.obstacles),
        degraded=list(found.degraded),
    )
    return json_answer(view) if found.ready else json_answer(view, 503, {"Retry-After": "2"})


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
