"""/healthz, /readyz and /metrics: for whatever watches the service. Needs no key, shows no business data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from api.openapi import operation
from api.requests import json_answer
from api.schemas.shop import HealthView, ReadinessView

if TYPE_CHECKING:
    from api.scrape import Scrape
    from inventory.readiness import ReadinessCheck

router = APIRouter(tags=["running it"])


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
        replicas=found.replicas,
        obstacles=list(found.obstacles),
        degraded=list(found.degraded),
    )
    return json_answer(view) if found.ready else json_answer(view, 503, {"Retry-After": "2"})


@router.get("/metrics", summary="Prometheus metrics", include_in_schema=True, response_class=Response)
async def metrics(request: Request) -> Response:
    """Everything, of every process of this service, whichever API process is asked; docs/observability.md says what.

    What cannot be asked within two seconds is left out.
    """
    scrape: Scrape = request.app.state.scrape
    return Response(await scrape.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
