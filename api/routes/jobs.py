"""/admin/jobs: how the background jobs stand, and what they did lately; the same as metrics. Starts none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Response

from api.openapi import operation
from api.problems import Problem
from api.requests import Limit, Reader, ServicesDep, json_answer
from api.schemas.jobs import JobList, JobRunList, JobRunView, JobView
from api.views import timestamp_of
from inventory.job_report import JobReport, report
from persistence.queries import job_runs
from persistence.queries.job_runs import JobRun

if TYPE_CHECKING:
    pass

router = APIRouter(prefix="/admin/jobs", tags=["running it"])

METRICS_PATIENCE_S: Final = 1.0


@router.get("", summary="Background jobs", **operation({200: JobList}))
async def list_jobs(services: ServicesDep, caller: Reader) -> Response:
    """Every job with its schedule, its last run and its next one."""
    found = await report(services.database, services.jobs)
    return json_answer(JobList([_view(job) for job in found.jobs], found.queue_reachable))


@router.get("/{job}/runs", summary="Runs of a background job", **operation({200: JobRunList}, "unknown-job"))
async def list_runs(job: str, services: ServicesDep, caller: Reader, limit: Limit = 50) -> Response:
    """The latest runs, newest first. The last 200 are kept."""
    if job not in services.jobs.kinds:
        raise Problem("unknown-job")
    return json_answer(JobRunList([_run_view(run) for run in await job_runs.runs_of(services.database, job, limit)]))


def _view(job: JobReport) -> JobView:
    return JobView(
        name=job.kind.name,
        description=job.kind.description,
        schedule=job.kind.schedule,
        health=job.health,
        last_run=None if job.last_run is None else _run_view(job.last_run),
        last_ok_at=None if job.last_ok_at is None else timestamp_of(job.last_ok_at),
        next_run_at=None if job.next_run_at is None else timestamp_of(job.next_run_at),
    )


def _run_view(run: JobRun) -> JobRunView:
    ended = run.ended_at
    return JobRunView(
        status=run.status,
        started_at=timestamp_of(run.started_at),
        ended_at=None if ended is None else timestamp_of(ended),
        duration_ms=None if ended is None else round((ended - run.started_at).total_seconds() * 1000),
        arguments=run.arguments,
        result=run.told,
    )
