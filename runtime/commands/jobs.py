"""`holdfast jobs`: background jobs listed, run by hand, and the job process itself.

Owns what is typed and shown; what a job does stands in worker/jobs/ and inventory/.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.command_line import FOUND_SOMETHING, load, running, told
from runtime.commands.output import Column, Output, age, moment, span, state
from runtime.commands.session import DataDirOption, JsonOption, Session, WrongUse, service_command

if TYPE_CHECKING:
    from holdfast_client import Job, JobRun, Jobs
    from inventory.job_report import JobReport
    from worker.jobs.running import Outcome

UNHEALTHY: Final = frozenset({"failed", "killed", "lost", "overdue"})

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@service_command(app)
def jobs(session: Session) -> None:
    """List background jobs, run one, or run the job process.

    Without a sub-command: every job with its schedule, its last run and result, and its next run. Exit code 1: one of
    them failed, was lost or is overdue. With --url or HOLDFAST_URL it asks that service; else it looks by itself, also
    while the API is down.

    Example: `holdfast jobs`
    """
    found = session.client.list_jobs() if session.is_remote else asyncio.run(_report(session.data_dir))
    output = session.output
    if output.for_people:
        columns: list[Column[Job]] = [
            Column("job", lambda job: job.name),
            Column("schedule", _schedule),
            Column("last run", lambda job: "-" if job.last_run is None else age(job.last_run.started_at)),
            Column("took", lambda job: _took(job.last_run)),
            Column("state", lambda job: state(job.health)),
            Column("result", lambda job: "-" if job.last_run is None else job.last_run.result, spare=True),
            Column("next run", lambda job: moment(job.next_run_at), spare=True),
        ]
        output.rows(found.items, columns, limit=None, empty="there are no jobs")
    else:
        output.document(found)
    if not found.queue_reachable:
        output.say("the jobs' Redis can't be reached: nothing is scheduled at present", "red")
    if not found.queue_reachable or any(job.health in UNHEALTHY for job in found.items):
        raise typer.Exit(FOUND_SOMETHING)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of the job, as the list shows it.", show_default=False)],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Arguments of the job.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one job now, on this machine, and print its result. It is written down like any other run.

    Exit code 0: it went well. 1: it failed. 2: there is no such job. 3: its servers cannot be reached.

    Example: `holdfast jobs run holds.leftover`
    """
    output = Output("json" if as_json else "table")
    with told():
        try:
            outcome = asyncio.run(_run(name, arguments or [], data_dir))
        except WrongUse as error:
            raise typer.BadParameter(str(error)) from None
    if output.for_people:
        typer.echo(f"{name}: {outcome.status} in {outcome.duration_s:.2f} s: {outcome.told}")
    else:
        output.document(outcome)
    if outcome.status != "ok":
        raise typer.Exit(FOUND_SOMETHING)


@app.command()
def work() -> None:
    """Run only the job process (RQ workers and schedules), against given HOLDFAST_REDIS_URL and HOLDFAST_DATABASE_URL.

    `holdfast up` runs one by itself. A second one is harmless.
    """
    from runtime.supervisor import supervise

    with told():
        raise typer.Exit(supervise(load(), frozenset({"jobs"})))


async def _report(data_dir: Path | None) -> Jobs:
    """The same as GET /admin/jobs, without the API."""
    from holdfast_client import Jobs
    from inventory.job_queue import JobQueue
    from inventory.job_report import report
    from persistence.database import Database
    from runtime.jobs_redis import jobs_url_of
    from runtime.store import urls_of
    from worker.jobs.registry import JOBS

    settings = running(load(data_dir=data_dir))
    redis_url, database_url = urls_of(settings)
    database = Database(database_url, pool_size=1)
    queue = JobQueue(jobs_url_of(settings, redis_url), JOBS.kinds)
    try:
        found = await report(database, queue)
    finally:
        queue.close()
        await database.close()
    return Jobs([_job(one) for one in found.jobs], found.queue_reachable)


def _job(one: JobReport) -> Job:
    from holdfast_client import Job, JobRun

    last = one.last_run
    run_ = None
    if last is not None:
        ended = last.ended_at
        took_ms = None if ended is None else round((ended - last.started_at).total_seconds() * 1000)
        run_ = JobRun(last.status, last.started_at, ended, took_ms, last.arguments, last.told)
    kind = one.kind
    return Job(kind.name, kind.description, kind.schedule, one.health, run_, one.last_ok_at, one.next_run_at)


async def _run(name: str, given: list[str], data_dir: Path | None) -> Outcome:
    from runtime.logs import configure_logs
    from runtime.process_main import secrets_of
    from runtime.store import open_store
    from runtime.wiring import job_settings
    from worker.jobs.registry import JOBS
    from worker.jobs.running import run_job

    if name not in JOBS:
        raise WrongUse(f"there is no job {name}; `holdfast jobs` lists them")
    arguments: dict[str, str | int] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise WrongUse(f"{word} is not KEY=VALUE")
        arguments[key] = int(value) if value.isascii() and value.isdigit() else value
    settings = running(load(data_dir=data_dir))
    configure_logs("jobs run", level="warning", form=settings.log_format, secrets=secrets_of(settings))
    store = await asyncio.to_thread(open_store, settings, None, migrate=False)
    return await run_job(job_settings(settings, store), JOBS, name, arguments, f"by-hand-{uuid.uuid4().hex[:12]}")


def _schedule(job: Job) -> str:
    if job.schedule is None:
        return "when asked for"
    return job.schedule if isinstance(job.schedule, str) else f"every {span(job.schedule)}"


def _took(last: JobRun | None) -> str:
    return "-" if last is None or last.duration_ms is None else f"{last.duration_ms / 1000:.2f} s"
