"""An RQ worker: takes jobs from its lanes and runs each in a process of its own, a fork of this one ("work-horse").

Owns how RQ is bent to our rules: JSON only, one function only, no orphan, a stop that is bounded, a killed run that is
written down and tried again. Never opens anything before the fork.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final

import structlog
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Worker
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

from engine.client import open_blocking_client
from inventory.job_queue import ENTRY, JobQueue, JsonJob, Lane
from persistence.database import Database, DatabaseUnavailable
from persistence.queries import job_runs
from worker.jobs.context import JobSettings
from worker.jobs.registry import Registry
from worker.jobs.running import run_job

_PR_SET_PDEATHSIG: Final = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
LONGEST_RECONNECT_PAUSE_S: Final = 2.0
CONNECT_AGAIN_S: Final = 0.5

logger = structlog.get_logger("holdfast.jobs")


class UnknownEntry(Exception):
    """Something else than a job of ours stands in the queue. It is not run."""


def work(settings: JobSettings, registry: Registry, lanes: Sequence[Lane]) -> None:
    """Run jobs of `lanes`, the first ones first, until SIGTERM; then let the running one end, within the grace.

    To be called in the main thread of a process with nothing else in it. Returns as well when Redis goes away at a bad
    moment: whoever called starts it anew.
    """
    _wait_for(settings.jobs_url)
    # Not used before RQ has it: RQ gives the pool the time its blocking read needs, and only connections made after
    # that have it. Others keep redis-py's 5 s, and an idle worker would lose its connection again and again.
    connection = Redis.from_url(settings.jobs_url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=5)
    job_class = _job_class(settings, registry)
    worker = _RqWorker(
        [Queue(lane, connection=connection, job_class=job_class, serializer=JSONSerializer) for lane in lanes],
        name=uuid.uuid4().hex,
        connection=connection,
        job_class=job_class,
        serializer=JSONSerializer,
        work_horse_killed_handler=lambda job, _pid, status, _usage: _killed(settings, registry, job, status),
        log_job_description=False,
    )
    worker.settings = settings
    worker.work(logging_level="WARNING")


def _wait_for(jobs_url: str) -> None:
    """Return once the jobs' Redis answers; say once why it does not. A signal ends the process meanwhile."""
    told = False
    with open_blocking_client(jobs_url, answer_timeout_s=5) as asking:
        while True:
            try:
                asking.ping()
                return
            except RedisError as error:
                if not told:
                    logger.error("job worker waits for the jobs' Redis", reason=f"{type(error).__name__}: {error}")
                told = True
            time.sleep(CONNECT_AGAIN_S)


def end_with_parent(death_signal: signal.Signals, parent: int) -> None:
    """Have the kernel send us `death_signal` when the thread that forked us ends. Linux; elsewhere nothing."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _job_class(settings: JobSettings, registry: Registry) -> type[JsonJob]:
    """RQ's job with our one function in it: a name that was read from Redis is never imported."""

    def perform(job: str, arguments: dict[str, str | int], retry_after_s: list[int]) -> str:
        return _perform(settings, registry, job, arguments, tuple(retry_after_s))

    class HoldfastJob(JsonJob):
        @property
        def func(self) -> Callable[..., str]:
            if self.func_name != ENTRY:
                raise UnknownEntry(f"{self.func_name!r} is no job of ours")
            return perform

    return HoldfastJob


def _perform(
    settings: JobSettings,
    registry: Registry,
    job: str,
    arguments: dict[str, str | int],
    retry_after_s: tuple[int, ...],
) -> str:
    """In the work-horse: one run, and the next try if it failed. What it gives is RQ's result."""
    told, ok = f"there is no job {job}", False
    if job in registry:
        try:
            run_id = os.environ.get("RQ_JOB_ID", "")
            outcome = asyncio.run(run_job(settings, registry, job, arguments, run_id))
            told, ok = outcome.told, outcome.status == "ok"
        except Exception as error:
            # It could not even be written down: Postgres is away, or the code does not let go (rq_timeout_s).
            told = f"{type(error).__name__}: {error}"
            foreseen = isinstance(error, DatabaseUnavailable)
            logger.error("job could not be run", job=job, reason=told, exc_info=not foreseen)
    if not ok:
        _try_again(settings, registry, job, arguments, retry_after_s)
    return told


def _try_again(
    settings: JobSettings,
    registry: Registry,
    job: str,
    arguments: dict[str, str | int],
    retry_after_s: tuple[int, ...],
) -> None:
    if retry_after_s and job in registry:
        jobs = JobQueue(settings.jobs_url, registry.kinds)
        jobs.push(job, arguments, delay_s=retry_after_s[0], retry_after_s=retry_after_s[1:])
        jobs.close()


def _killed(settings: JobSettings, registry: Registry, job: Job, status: int | None) -> None:
    """The work-horse died before it could say anything: write that down, and try again as it would have."""
    payload: dict[str, Any] = job.kwargs
    ended = f"by signal {os.WTERMSIG(status)}" if status and os.WIFSIGNALED(status) else "unexpectedly"
    logger.error("job killed", job=payload["job"], ended=ended)
    _note_killed(settings, payload["job"], job.id, f"its process ended {ended}")
    _try_again(settings, registry, payload["job"], payload["arguments"], tuple(payload["retry_after_s"]))


def _note_killed(settings: JobSettings, job: str, run_id: str, told: str) -> None:
    async def note() -> None:
        database = Database(settings.database_url, pool_size=1)
        try:
            await job_runs.killed(database, job, run_id, told)
        finally:
            await database.close()

    try:
        asyncio.run(note())
    except DatabaseUnavailable as error:
        # Then the run stays `running` and shows as lost once its time is over.
        logger.warning("a killed job could not be written down", job=job, reason=str(error))


class _RqWorker(Worker):
    """RQ's forking worker, such that a stop takes no longer than the grace and no work-horse stays behind."""

    max_connection_wait_time = LONGEST_RECONNECT_PAUSE_S
    settings: JobSettings

    def subscribe(self) -> None:
        """Not to RQ's channel of remote commands: nobody sends any, and its thread makes each fork a gamble."""

    def setup_work_horse_signals(self) -> None:
        """In the work-horse: it has a process group of its own, so nobody else would end it with us."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        # RQ gives the work-horse no way to know its parent but this.
        end_with_parent(signal.SIGKILL, int(self.pid or 0))

    def handle_warm_shutdown_request(self) -> None:
        """Asked to end. The running job may go on for the grace; then `request_force_stop` is called."""
        timer = threading.Timer(self.settings.grace_s, os.kill, [os.getpid(), signal.SIGTERM])
        timer.daemon = True
        timer.start()

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """The grace is over: end the job's process, and return the job to the head of its queue."""
        job = self.get_current_job() if self.horse_pid else None
        if job is not None:
            self.kill_horse()
            self.wait_for_horse()
            self._return(job)
        raise SystemExit(0)

    def _return(self, job: Job) -> None:
        name = job.kwargs["job"]
        logger.warning("job returned to its queue: the process stops", job=name)
        with suppress(RedisError):  # then the job's schedule does it
            with self.connection.pipeline() as pipeline:
                self.cleanup_execution(job, pipeline, self.execution)
                pipeline.execute()
            queue = Queue(job.origin, connection=self.connection, job_class=self.job_class, serializer=self.serializer)
            queue.enqueue_job(job, at_front=True)
        _note_killed(self.settings, name, job.id, "returned to its queue: the service was stopped")
