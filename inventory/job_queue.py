"""Asking for background work: which kinds of jobs there are, and the queue (RQ) that takes a job to the job process.

Owns how a job is put into Redis; never runs one (worker/jobs/) and keeps nothing that correctness needs: whatever is
lost here, a schedule does again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import structlog
from msgspec import Struct
from redis import Redis, RedisError
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq_scheduler import Scheduler  # type: ignore[import-untyped]

from engine.client import open_blocking_client

Lane = Literal["prompt", "long"]
LANES: Final[tuple[Lane, ...]] = ("prompt", "long")

ENTRY: Final = "holdfast.job"
"""The one function name that stands in RQ's payloads; the job process runs nothing else (worker/jobs/horse.py)."""
RESULT_TTL_S: Final = 600
FAILURE_TTL_S: Final = 86_400
REDIS_TIMEOUT_S: Final = 2.0

logger = structlog.get_logger("holdfast.jobs")


class JobKind(Struct, frozen=True, kw_only=True):
    """What is known of a job before it runs."""

    name: str
    """`topic.verb`, as `holdfast jobs` shows it."""
    description: str
    """One line for people."""
    timeout_s: int = 60
    """A run that takes longer is ended and counts as failed."""
    lane: Lane = "prompt"
    """`long` for what may take more than a few seconds: it never keeps prompt jobs waiting."""
    schedule: str | int | None = None
    """Cron text in the machine's time zone (`0 9 * * *`), or seconds between two runs; None: only when asked for."""
    retry_after_s: tuple[int, ...] = ()
    """Pauses before a failed run is tried again, when the one who asked gave none."""


class PlannedRun(Struct, frozen=True):
    """What the scheduler knows of a scheduled job."""

    next_run_at: datetime
    since: datetime
    """When this schedule began."""


class UnknownJob(ValueError):
    """There is no job of this name."""


class JsonJob(Job):
    """An RQ job whose payload is JSON: nothing that is read from Redis is ever unpickled."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection, JSONSerializer)


class JobQueue:
    """The way to the job process. Usable from any event loop and thread; connects when first used.

    `url`: the jobs' own Redis database. `kinds`: the jobs there are (worker/jobs/registry.py).
    """

    def __init__(self, url: str, kinds: Iterable[JobKind]) -> None:
        self.kinds: Mapping[str, JobKind] = {kind.name: kind for kind in kinds}
        self._redis = open_blocking_client(url, answer_timeout_s=REDIS_TIMEOUT_S, connect_timeout_s=REDIS_TIMEOUT_S)
        self._queues = {
            lane: Queue(lane, connection=self._redis, job_class=JsonJob, serializer=JSONSerializer) for lane in LANES
        }
        self._scheduler = Scheduler(connection=self._redis, job_class=JsonJob)

    async def enqueue(
        self, job: str, *, delay_s: float = 0, retry_after_s: tuple[int, ...] = (), **arguments: str | int
    ) -> bool:
        """Ask for one run of `job` with `arguments`, in `delay_s` seconds (never earlier, up to 2 s later).

        A run that fails or is killed is tried again after each of `retry_after_s` seconds; without any, as the kind
        says. False if the jobs' Redis cannot be reached: that is logged and no error, since a schedule sweeps up what
        was not asked for. Raises UnknownJob.
        """
        if job not in self.kinds:
            raise UnknownJob(f"there is no job {job}")
        return await asyncio.to_thread(self.push, job, arguments, delay_s, retry_after_s or None)

    def push(
        self,
        job: str,
        arguments: Mapping[str, str | int],
        delay_s: float = 0,
        retry_after_s: tuple[int, ...] | None = None,
    ) -> bool:
        """`enqueue` for callers without an event loop. `retry_after_s`: None: as the kind says."""
        kind = self.kinds[job]
        payload = payload_of(kind, arguments, kind.retry_after_s if retry_after_s is None else retry_after_s)
        try:
            if delay_s > 0:
                self._scheduler.enqueue_at(
                    # The scheduler knows whole seconds only, and rounds down: a run would come too early.
                    datetime.fromtimestamp(math.ceil(time.time() + delay_s), UTC),
                    ENTRY,
                    queue_name=kind.lane,
                    timeout=rq_timeout_s(kind),
                    job_result_ttl=RESULT_TTL_S,
                    job_description=job,
                    **payload,
                )
            else:
                self._queues[kind.lane].enqueue_call(
                    ENTRY,
                    kwargs=payload,
                    timeout=rq_timeout_s(kind),
                    result_ttl=RESULT_TTL_S,
                    failure_ttl=FAILURE_TTL_S,
                    description=job,
                )
        except RedisError as error:
            logger.warning(
                "job not queued; its schedule will do it", job=job, reason=f"{type(error).__name__}: {error}"
            )
            return False
        return True

    async def planned(self) -> dict[str, PlannedRun] | None:
        """Job name -> when its schedule runs it next; None if the jobs' Redis cannot be reached."""
        return await asyncio.to_thread(self._planned)

    def _planned(self) -> dict[str, PlannedRun] | None:
        names = {schedule_id(name): name for name in self.kinds}
        try:
            return {
                names[job.id]: PlannedRun(_utc(at), _utc(job.created_at))
                for job, at in self._scheduler.get_jobs(with_times=True)
                if job.id in names
            }
        except RedisError:
            return None

    def close(self) -> None:
        """Let the connections go."""
        self._redis.close()


def schedule_id(name: str) -> str:
    """RQ's id of the job that a schedule runs; RQ takes no dots."""
    return "schedule-" + name.replace(".", "--")


def payload_of(kind: JobKind, arguments: Mapping[str, str | int], retry_after_s: tuple[int, ...]) -> dict[str, Any]:
    """What the job process is called with."""
    return {"job": kind.name, "arguments": dict(arguments), "retry_after_s": list(retry_after_s)}


def rq_timeout_s(kind: JobKind) -> int:
    """RQ's own limit: behind ours, for code that does not let go of the processor."""
    return kind.timeout_s + 15


def _utc(moment: datetime) -> datetime:
    """rq-scheduler gives times without a zone and means UTC."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
