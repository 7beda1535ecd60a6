"""One run of one job: its context opened, its time limited, its beginning and end written down, its next try asked for.

Owns what all runs have in common; never what a job does, and nothing of RQ (horse.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Final, Literal

import structlog
from msgspec import Struct

from engine import Engine
from engine.errors import HoldfastError
from inventory.admission import watermark_of
from inventory.context import Inventory
from inventory.job_queue import JobKind, JobQueue
from inventory.refusals import Refusal
from persistence.database import Database, DatabaseUnavailable
from persistence.queries import job_runs
from worker.jobs.context import JobContext, JobSettings
from worker.jobs.registry import Registry

Arguments = Mapping[str, str | int]
POOL_SIZE: Final = 3
"""Connections to Postgres that a run keeps; as many again for a moment."""

logger = structlog.get_logger("holdfast.jobs")


class Outcome(Struct, frozen=True):
    """How a run ended."""

    status: Literal["ok", "failed"]
    told: str
    """What the job says it has done, in one line; or why it failed."""
    duration_s: float


@asynccontextmanager
async def opened_context(settings: JobSettings, registry: Registry, database: Database) -> AsyncIterator[JobContext]:
    """A context of this event loop's own, on `database`. Raises Unavailable, OSError while Redis is away."""
    async with AsyncExitStack() as closing:
        jobs = JobQueue(settings.jobs_url, registry.kinds)
        closing.callback(jobs.close)
        engine = await Engine.connect(settings.redis_url, settings.engine)
        closing.push_async_callback(engine.close)
        watermark = watermark_of(engine, settings.database_url)
        await watermark.start()
        closing.push_async_callback(watermark.close)
        yield JobContext(Inventory(engine, database, watermark, settings.inventory), jobs, settings)


async def run_job(settings: JobSettings, registry: Registry, name: str, arguments: Arguments, run_id: str) -> Outcome:
    """Run job `name` once and write it down; a job that fails or takes too long is an Outcome, not an exception.

    Raises KeyError for an unknown name, DatabaseUnavailable when the run cannot be written down.
    """
    kind = registry[name].kind
    database = Database(settings.database_url, pool_size=POOL_SIZE)
    try:
        told_arguments = " ".join(f"{key}={value}" for key, value in arguments.items())
        number = await job_runs.begin(database, name, run_id, told_arguments, kind.timeout_s)
        around = settings.spans.around(name, database) if settings.spans else nullcontext(_untold)
        with around as failed:
            outcome = await _outcome(settings, registry, kind, arguments, database)
            if outcome.status != "ok":
                failed(outcome.told)
        await job_runs.end(database, number, outcome.status, outcome.told)
    finally:
        await database.close()
    told = logger.info if outcome.status == "ok" else logger.error
    told("job ended", job=name, status=outcome.status, told=outcome.told, duration_s=round(outcome.duration_s, 3))
    return outcome


def _untold(_why: str) -> None:
    """Nothing is traced."""


async def _outcome(
    settings: JobSettings, registry: Registry, kind: JobKind, arguments: Arguments, database: Database
) -> Outcome:
    began = time.monotonic()
    status: Literal["ok", "failed"] = "failed"
    limit = asyncio.timeout(kind.timeout_s)
    try:
        async with limit, opened_context(settings, registry, database) as context:
            told = await registry.run(context, kind.name, dict(arguments))
            status = "ok"
    except Exception as error:
        # Whatever a job raises is its result, and is told. Only what nobody foresaw needs a traceback.
        if not isinstance(error, HoldfastError | DatabaseUnavailable | Refusal | TimeoutError):
            logger.exception("job failed", job=kind.name)
        told = f"took longer than {kind.timeout_s} s" if limit.expired() else f"{type(error).__name__}: {error}"
    return Outcome(status, " ".join(told.split()), time.monotonic() - began)
