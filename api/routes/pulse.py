"""/inventory/pulse: how the whole service is at this moment, for people who watch it. The same as the console shows."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from api.hot.respond import timestamp
from api.openapi import operation
from api.requests import Reader, json_answer
from api.schemas.pulse import LatencyView, LostDemandView, ProcessView, PulseView, RatesView
from inventory.pulse.fleet import Fleet, FleetReader
from inventory.pulse.sheets import ProcessPulse
from inventory.readiness import PARTS

router = APIRouter(prefix="/inventory", tags=["running it"])

MOST_LOST: Final = 50


@router.get("/pulse", summary="Rates, lags and health of the whole service", **operation({200: PulseView}))
async def get_pulse(request: Request, caller: Reader) -> Response:
    """Of all processes together, as they told it within the last seconds. Several who ask at once share one look."""
    reader: FleetReader = request.app.state.fleet
    return json_answer(pulse_view(await reader.read()))


def pulse_view(fleet: Fleet) -> PulseView:
    """The service at one moment, as the contract shows it."""
    vitals = fleet.vitals
    return PulseView(
        at=timestamp(fleet.at_ms),
        ready=fleet.readiness.ready,
        health={part: getattr(fleet.readiness, part) for part in PARTS},
        rates=RatesView(
            requests=round(fleet.requests_per_s, 2),
            errors=round(fleet.errors_per_s, 2),
            reserves=round(fleet.reserves_per_s, 2),
            confirms=round(fleet.confirms_per_s, 2),
            releases=round(fleet.releases_per_s, 2),
            expiries=round(fleet.expiries_per_s, 2),
            rejections=round(fleet.rejections_per_s, 2),
        ),
        problems_per_s={code: round(rate, 2) for code, rate in fleet.problems_per_s.items()},
        latency_ms=LatencyView(*(fleet.latency_ms.get(name) for name in ("p50", "p95", "p99"))),
        batch_commands=_rounded(fleet.batch_commands),
        batch_ms=_rounded(fleet.batch_ms),
        queue_depth=fleet.queue_depth,
        connections=fleet.connections,
        journal_lag_events=fleet.journal_lag_events,
        journal_lag_seconds=_rounded(fleet.journal_lag_s),
        sweep_lag_seconds=_rounded(fleet.sweep_lag_s),
        live_holds=fleet.live_holds,
        expiring_soon=fleet.expiring_soon,
        memory_used_bytes=None if vitals is None else vitals.memory_used_bytes,
        memory_limit_bytes=None if vitals is None else vitals.memory_limit_bytes,
        processes=[_process(pulse) for pulse in fleet.processes],
        lost_demand=[
            LostDemandView(lost.sku, lost.requests, lost.units, timestamp(lost.at_ms))
            for lost in fleet.lost_demand[:MOST_LOST]
        ],
    )


def _process(pulse: ProcessPulse) -> ProcessView:
    return ProcessView(
        process=pulse.process,
        role=pulse.role,
        host=pulse.host,
        pid=pulse.pid,
        up_seconds=max(0, (pulse.at_ms - pulse.started_at_ms) // 1000),
        requests_per_s=round(pulse.recent.requests / pulse.window_s, 2),
        queue_depth=pulse.queue_depth,
        connections=pulse.connections,
        memory_bytes=pulse.memory_bytes,
        refusal=pulse.refusal or None,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
