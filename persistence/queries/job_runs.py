"""What the background jobs have done: a row when a run begins, its end, and the last word of each job.

Owns the statements; never decides whether a job is healthy (inventory/job_report.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, cast

from msgspec import Struct
from sqlalchemy import Row, TextClause, text

from persistence.database import Database

RunStatus = Literal["running", "ok", "failed", "killed"]
LONGEST_TOLD = 2_000
"""Characters that are kept of a result or an error."""


class JobRun(Struct, frozen=True):
    """One run of a job."""

    id: int
    job: str
    arguments: str
    started_at: datetime
    deadline_at: datetime
    """A run that is still `running` behind this was lost with its process."""
    ended_at: datetime | None
    status: RunStatus
    told: str
    """Its one-line result; or why it failed or was killed."""


class LastRuns(Struct, frozen=True):
    """The latest run of a job, and when one last went well."""

    run: JobRun
    last_ok_at: datetime | None


_BEGIN = text(
    "INSERT INTO job_runs (job, run_id, arguments, started_at, deadline_at, status)"
    " VALUES (:job, :run_id, :arguments, clock_timestamp(), clock_timestamp() + :timeout_s * interval '1 second',"
    " 'running') RETURNING id"
)
_END = text(
    "UPDATE job_runs SET ended_at = clock_timestamp(), status = :status, told = :told"
    " WHERE id = :id AND status = 'running' RETURNING id"
)
_KILLED = text(
    "UPDATE job_runs SET ended_at = clock_timestamp(), status = 'killed', told = :told"
    " WHERE job = :job AND run_id = :run_id AND status = 'running' RETURNING id"
)
_COLUMNS = "id, job, arguments, started_at, deadline_at, ended_at, status, told"
_LATEST = text(
    f"SELECT latest.*, went_well.ended_at AS last_ok_at"  # noqa: S608 - our own column names
    f" FROM unnest(CAST(:names AS text[])) AS wanted(name)"
    f" CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM job_runs WHERE job = name ORDER BY id DESC LIMIT 1) AS latest"
    f" LEFT JOIN LATERAL (SELECT ended_at FROM job_runs WHERE job = name AND status = 'ok' ORDER BY id DESC LIMIT 1)"
    f" AS went_well ON true"
)
_OF_JOB = text(
    f"SELECT {_COLUMNS} FROM job_runs WHERE job = :job ORDER BY id DESC LIMIT :limit"  # noqa: S608
)
_PRUNE = text(
    "DELETE FROM job_runs WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY job ORDER BY id DESC)"
    " AS age FROM job_runs) AS aged WHERE age > :kept ORDER BY id LIMIT :chunk) RETURNING id"
)


async def begin(database: Database, job: str, run_id: str, arguments: str, timeout_s: float) -> int:
    """Note that a run has begun; the number of its row. `run_id`: RQ's id. Raises DatabaseUnavailable."""
    values = {"job": job, "run_id": run_id, "arguments": arguments, "timeout_s": timeout_s}
    (row,) = await database.write(_bound(_BEGIN, **values))
    return int(row.id)


async def end(database: Database, number: int, status: RunStatus, told: str) -> None:
    """Note how run `number` ended. Nothing if that is known already. Raises DatabaseUnavailable."""
    await database.write(_bound(_END, id=number, status=status, told=_storable(told)))


async def killed(database: Database, job: str, run_id: str, told: str) -> None:
    """Note that the process of a run died before it could say anything. Raises DatabaseUnavailable."""
    await database.write(_bound(_KILLED, job=job, run_id=run_id, told=_storable(told)))


async def latest(database: Database, names: Iterable[str]) -> dict[str, LastRuns]:
    """The last runs of each of these jobs that has ever run. Raises DatabaseUnavailable."""
    rows = await database.fetch(_bound(_LATEST, names=list(names)))
    return {row.job: LastRuns(_run(row), row.last_ok_at) for row in rows}


async def runs_of(database: Database, job: str, limit: int) -> tuple[JobRun, ...]:
    """The latest `limit` runs of a job, newest first. Raises DatabaseUnavailable."""
    return tuple(_run(row) for row in await database.fetch(_bound(_OF_JOB, job=job, limit=limit)))


async def prune(database: Database, kept: int, chunk: int) -> int:
    """Forget at most `chunk` runs that are behind the latest `kept` of their job; how many it were.

    Raises DatabaseUnavailable.
    """
    gone: Sequence[Row[Any]] = await database.write(_bound(_PRUNE, kept=kept, chunk=chunk))
    return len(gone)


def _bound(statement: TextClause, **values: object) -> TextClause:
    return statement.bindparams(**values)


def _storable(told: str) -> str:
    """Postgres text takes no NUL and no lone surrogate; an error's message may have either."""
    return told.replace("\0", "?").encode("utf-8", "replace").decode()[:LONGEST_TOLD]


def _run(row: Row[Any]) -> JobRun:
    return JobRun(
        id=row.id,
        job=row.job,
        arguments=row.arguments,
        started_at=row.started_at,
        deadline_at=row.deadline_at,
        ended_at=row.ended_at,
        status=cast("RunStatus", row.status),
        told=row.told,
    )
