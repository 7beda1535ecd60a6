"""`holdfast jobs`: background jobs listed, run by hand, and the job process itself.

Owns what is typed and shown; what a job does stands in worker/jobs/ and inventory/.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.command_line import FOUND_SOMETHING, load, running, told

if TYPE_CHECKING:
    from inventory.job_report import JobReport, JobsReport
    from persistence.queries.job_runs import JobRun
    from worker.jobs.running import Outcome

WIDTH: Final = 160
"""Characters a line when the output is no terminal."""

jobs_app = typer.Typer(
    help="""List background jobs, run one, or run the job process.

Without a sub-command: every job with its schedule, its last run and result, and its next run. Exit code 1: one of them
failed, was lost or is overdue.""",
)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Data directory of a running `holdfast up`.", show_default="~/.local/share/holdfast"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@jobs_app.callback(invoke_without_command=True)
def jobs(context: typer.Context, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List background jobs, run one, or run the job process.

    Without a sub-command: every job with its schedule, its last run and result, and its next run. Exit code 1: one of
    them failed, was lost or is overdue.
    """
    if context.invoked_subcommand is not None:
        return
    with told():
        found = asyncio.run(_report(data_dir))
    if as_json:
        sys.stdout.write(_json(found))
    else:
        _show(found)
    if not found.queue_reachable:
        typer.echo("the jobs' Redis can't be reached: nothing is scheduled at present", err=True)
    if not found.queue_reachable or any(not job.healthy for job in found.jobs):
        raise typer.Exit(FOUND_SOMETHING)


@jobs_app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of the job, as the list shows it.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of the job, KEY=VALUE.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run one job now, here, and print its result. It is written down like any other run.

    Exit code 0: it went well. 1: it failed. 2: it could not be run.
    """
    with told():
        outcome = asyncio.run(_run(name, arguments or [], data_dir))
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
    else:
        typer.echo(f"{name}: {outcome.status} in {outcome.duration_s:.2f} s: {outcome.told}")
    if outcome.status != "ok":
        raise typer.Exit(FOUND_SOMETHING)


@jobs_app.command()
def work() -> None:
    """Run only the job process (RQ workers and schedules), against given HOLDFAST_REDIS_URL and HOLDFAST_DATABASE_URL.

    `holdfast up` runs one by itself. A second one is harmless.
    """
    from runtime.supervisor import supervise

    with told():
        raise typer.Exit(supervise(load(), frozenset({"jobs"})))


async def _report(data_dir: Path | None) -> JobsReport:
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
        return await report(database, queue)
    finally:
        queue.close()
        await database.close()


async def _run(name: str, given: list[str], data_dir: Path | None) -> Outcome:
    from runtime.logs import configure_logs
    from runtime.process_main import secrets_of
    from runtime.store import open_store
    from runtime.wiring import job_settings
    from worker.jobs.registry import JOBS
    from worker.jobs.running import run_job

    if name not in JOBS:
        raise typer.BadParameter(f"there is no job {name}; `holdfast jobs` lists them")
    arguments: dict[str, str | int] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise typer.BadParameter(f"{word} is not KEY=VALUE")
        arguments[key] = int(value) if value.isdigit() else value
    settings = running(load(data_dir=data_dir))
    configure_logs("jobs run", level="warning", form=settings.log_format, secrets=secrets_of(settings))
    store = await asyncio.to_thread(open_store, settings, None, migrate=False)
    return await run_job(job_settings(settings, store), JOBS, name, arguments, f"by-hand-{uuid.uuid4().hex[:12]}")


def _show(found: JobsReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from inventory.job_report import schedule_text

    now = datetime.now(UTC)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("job", "schedule", "last run", "took", "state", "result", "next run"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"job", "schedule", "state"})
    for job in found.jobs:
        last = job.last_run
        table.add_row(
            job.kind.name,
            schedule_text(job.kind),
            "-" if last is None else _ago(last.started_at, now),
            "-"
            if last is None or last.ended_at is None
            else f"{(last.ended_at - last.started_at).total_seconds():.2f} s",
            Text(job.health, style="green" if job.health == "ok" else "" if job.healthy else "red"),
            Text("" if last is None else last.told),
            "-" if job.next_run_at is None else f"{job.next_run_at.astimezone():%Y-%m-%d %H:%M:%S}",
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table)


def _took(run: JobRun | None) -> str:
    if run is None or run.ended_at is None:
        return "-"
    return f"{(run.ended_at - run.started_at).total_seconds():.2f} s"


def _ago(moment: datetime, now: datetime) -> str:
    from runtime.status_display import duration

    return f"{duration(max(0.0, (now - moment).total_seconds()))} ago"


def _json(found: JobsReport) -> str:
    import msgspec

    lines = msgspec.json.encode({"queue_reachable": found.queue_reachable, "jobs": [_plain(job) for job in found.jobs]})
    return msgspec.json.format(lines, indent=2).decode() + "\n"


def _plain(job: JobReport) -> dict[str, object]:
    last = job.last_run
    return {
        "name": job.kind.name,
        "description": job.kind.description,
        "schedule": job.kind.schedule,
        "health": job.health,
        "last_run": None
        if last is None
        else {
            "started_at": last.started_at,
            "ended_at": last.ended_at,
            "status": last.status,
            "result": last.told,
            "arguments": last.arguments,
        },
        "last_ok_at": job.last_ok_at,
        "next_run_at": job.next_run_at,
    }
