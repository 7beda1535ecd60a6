"""How the background jobs stand: what each last did, when it runs next, and whether somebody should look.

Owns the judgement of health; never runs a job.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from crontab import CronTab  # type: ignore[import-untyped]
from msgspec import Struct

from inventory.job_queue import JobKind, JobQueue, PlannedRun
from persistence.database import Database
from persistence.queries import job_runs
from persistence.queries.job_runs import JobRun, LastRuns

LATE_S: Final = 180
"""A scheduled run may begin this much later than planned; behind that the job is overdue."""

Health = Literal["ok", "running", "never ran", "failed", "killed", "lost", "overdue"]
UNHEALTHY: Final[frozenset[Health]] = frozenset({"failed", "killed", "lost", "overdue"})


class JobReport(Struct, frozen=True):
    """One job at one moment."""

    kind: JobKind
    health: Health
    """`failed`, `killed`: its last run was. `lost`: that never ended. `overdue`: it should have run by now."""
    last_run: JobRun | None
    last_ok_at: datetime | None
    next_run_at: datetime | None
    """None: it has no schedule, or the jobs' Redis cannot be asked."""

    @property
    def healthy(self) -> bool:
        """False: somebody should look."""
        return self.health not in UNHEALTHY


class JobsReport(Struct, frozen=True):
    """All jobs, and whether the scheduler could be asked."""

    jobs: tuple[JobReport, ...]
    queue_reachable: bool


async def report(database: Database, queue: JobQueue, now: datetime | None = None) -> JobsReport:
    """Look at every job there is. Raises DatabaseUnavailable."""
    now = now or datetime.now(UTC)
    planned = await queue.planned()
    last = await job_runs.latest(database, queue.kinds)
    jobs = tuple(
        _report(kind, last.get(kind.name), (planned or {}).get(kind.name), now) for kind in queue.kinds.values()
    )
    return JobsReport(jobs, planned is not None)


def _report(kind: JobKind, last: LastRuns | None, planned: PlannedRun | None, now: datetime) -> JobReport:
    run = None if last is None else last.run
    return JobReport(
        kind=kind,
        health=_health(kind, run, planned, now),
        last_run=run,
        last_ok_at=None if last is None else last.last_ok_at,
        next_run_at=None if planned is None else planned.next_run_at,
    )


def _health(kind: JobKind, run: JobRun | None, planned: PlannedRun | None, now: datetime) -> Health:
    if run is not None and run.status == "running":
        return "lost" if now > run.deadline_at + timedelta(seconds=LATE_S) else "running"
    if _is_overdue(kind, run, planned, now):
        return "overdue"
    if run is None:
        return "never ran"
    return run.status


def _is_overdue(kind: JobKind, run: JobRun | None, planned: PlannedRun | None, now: datetime) -> bool:
    """Whether the run that the schedule wanted before `now` - LATE_S has not begun."""
    if kind.schedule is None:
        return False
    wanted_at = previous_run(kind.schedule, now - timedelta(seconds=LATE_S))
    if run is not None:
        return run.started_at < wanted_at - timedelta(seconds=1)
    # It never ran: late only if its schedule is older than that. Without the scheduler nobody can tell.
    return planned is not None and planned.since < wanted_at


def previous_run(schedule: str | int, before: datetime) -> datetime:
    """When a schedule last wanted a run, at `before` or earlier; for an interval the latest that it may be."""
    if isinstance(schedule, int):
        return before - timedelta(seconds=schedule)
    local = before.astimezone()
    back: float = CronTab(schedule).previous(now=local, default_utc=False)
    return before + timedelta(seconds=back)


def schedule_text(kind: JobKind) -> str:
    """A schedule for people."""
    if kind.schedule is None:
        return "when asked for"
    if isinstance(kind.schedule, str):
        return kind.schedule
    minutes, seconds = divmod(kind.schedule, 60)
    return f"every {kind.schedule} s" if seconds else f"every {minutes} min"
