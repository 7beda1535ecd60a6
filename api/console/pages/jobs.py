"""Jobs: what runs in the background, how its last run went, and what is overdue. Starts none."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response

from api.console.access import Reading
from api.problems import Problem
from inventory.job_report import UNHEALTHY, report, schedule_text
from persistence.queries import job_runs

router = APIRouter(prefix="/console/jobs", include_in_schema=False)

RUNS: Final = 50


@router.get("")
async def jobs_page(visit: Reading) -> Response:
    """Every job; those that somebody should look after first."""
    found = await report(visit.services.database, visit.services.jobs)
    return visit.page(
        "jobs.html",
        "jobs",
        "Jobs",
        jobs=sorted(found.jobs, key=lambda job: (job.healthy, job.kind.name)),
        unhealthy=UNHEALTHY,
        queue_reachable=found.queue_reachable,
        schedule_text=schedule_text,
    )


@router.get("/{job}")
async def job_page(job: str, visit: Reading) -> Response:
    """The latest runs of one job, newest first."""
    services = visit.services
    kind = services.jobs.kinds.get(job)
    if kind is None:
        raise Problem("unknown-job")
    found = await report(services.database, services.jobs)
    return visit.page(
        "job.html",
        "jobs",
        kind.name,
        job=next(one for one in found.jobs if one.kind.name == job),
        unhealthy=UNHEALTHY,
        runs=await job_runs.runs_of(services.database, job, RUNS),
        schedule_text=schedule_text,
    )
