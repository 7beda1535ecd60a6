"""Answers about background jobs, as structs. Owns shapes, no behaviour."""

from __future__ import annotations

from msgspec import Struct

from api.schemas.shop import Time
from inventory.job_report import Health
from persistence.queries.job_runs import RunStatus


class JobRunView(Struct, frozen=True):
    """One run. `result`: what it says it has done, or why it failed. `duration_ms`: null while it runs, or if lost."""

    status: RunStatus
    started_at: Time
    ended_at: Time | None
    duration_ms: int | None
    arguments: str
    result: str


class JobView(Struct, frozen=True):
    """A job. `schedule`: cron text in the machine's time zone, or seconds between two runs; null: when asked for.

    `health`: `failed` and `killed` tell of the last run, `lost` of one that never ended, `overdue` of one that should
    have begun; the other values are nothing to look after. `next_run_at`: null without a schedule, or while
    `queue_reachable` is false.
    """

    name: str
    description: str
    schedule: str | int | None
    health: Health
    last_run: JobRunView | None
    last_ok_at: Time | None
    next_run_at: Time | None


class JobList(Struct, frozen=True):
    """Every job. `queue_reachable`: false while the jobs' Redis gives no answer, and so nothing is scheduled."""

    items: list[JobView]
    queue_reachable: bool


class JobRunList(Struct, frozen=True):
    """The latest runs of a job, newest first."""

    items: list[JobRunView]
