"""The schedules of the registry, kept by rq-scheduler in the jobs' Redis, which puts what is due into the queues.

Owns what is declared there and the loop that looks for due jobs. Never runs a job. Two of these are harmless: they take
turns by rq-scheduler's lock, and where both act a job runs twice, which every job bears.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import structlog
from redis import RedisError
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job
from rq_scheduler import Scheduler  # type: ignore[import-untyped]

from engine.client import open_blocking_client
from inventory.job_queue import ENTRY, JobKind, JsonJob, payload_of, rq_timeout_s, schedule_id

LOOK_EVERY_S: Final = 1.0
DECLARE_EVERY_S: Final = 30.0
"""Schedules are declared again this often: the jobs' Redis may have been emptied."""

_UNREADABLE: Final = (DeserializationError, ValueError, TypeError, KeyError, AttributeError)
"""What reading a damaged job, or one that somebody else put there, may raise."""

logger = structlog.get_logger("holdfast.jobs")


class Timetable:
    """One scheduler. Use from one thread."""

    def __init__(self, jobs_url: str, kinds: Iterable[JobKind]) -> None:
        self._kinds = [kind for kind in kinds if kind.schedule is not None]
        self._redis = open_blocking_client(jobs_url, answer_timeout_s=5)
        self._scheduler = Scheduler(connection=self._redis, job_class=JsonJob, interval=LOOK_EVERY_S)
        self._declared_at = float("-inf")
        self._away = False

    def look(self) -> None:
        """Put what is due into the queues, unless another scheduler is at it. Redis away: told once, nothing done."""
        try:
            if not self._scheduler.acquire_lock():
                return
            try:
                if time.monotonic() - self._declared_at >= DECLARE_EVERY_S:
                    self.declare()
                    self._declared_at = time.monotonic()
                with _quiet_crontab():
                    self._push_due()
            finally:
                self._scheduler.remove_lock()
        except RedisError as error:
            if not self._away:
                logger.error("schedules wait for the jobs' Redis", reason=f"{type(error).__name__}: {error}")
            self._away = True
            return
        if self._away:
            logger.info("the jobs' Redis is back")
        self._away = False

    def run(self, stop: threading.Event) -> None:
        """`look` each second until `stop`."""
        while not stop.wait(LOOK_EVERY_S):
            self.look()

    def declare(self) -> None:
        """Make the schedules in Redis those of the registry: new and changed ones begin anew, others are dropped.

        Raises redis.RedisError.
        """
        wanted = {schedule_id(kind.name): kind for kind in self._kinds}
        known = {job.id: job for job in self._readable(float("inf"))}
        for rq_id, kind in wanted.items():
            if rq_id not in known or not _same(known[rq_id], kind):
                self._plan(rq_id, kind)
        for rq_id, job in known.items():
            if rq_id.startswith(schedule_id("")) and rq_id not in wanted:
                self._scheduler.cancel(job)
                job.delete()

    def close(self) -> None:
        """Let the connection go."""
        self._redis.close()

    def _push_due(self) -> None:
        """rq-scheduler's own loop would end at the first entry that it cannot read, and with it every schedule."""
        for job in self._readable(time.time()):
            try:
                self._scheduler.enqueue_job(job)
            except _UNREADABLE:
                self._drop(job.id)

    def _readable(self, until: float) -> Iterator[Job]:
        """Entries due at `until`, a Unix time. What is no job of ours is dropped: what we need is declared again."""
        planned = cast("list[bytes]", self._redis.zrangebyscore(self._scheduler.scheduled_jobs_key, 0, until))
        for rq_id in planned:
            try:
                yield JsonJob.fetch(rq_id.decode(), connection=self._redis)
            except (NoSuchJobError, *_UNREADABLE):
                self._drop(rq_id)

    def _drop(self, rq_id: str | bytes) -> None:
        logger.warning("an entry of the schedules that cannot be read was dropped", entry=str(rq_id)[:80])
        self._redis.zrem(self._scheduler.scheduled_jobs_key, rq_id)

    def _plan(self, rq_id: str, kind: JobKind) -> None:
        with_it: dict[str, Any] = {
            "kwargs": payload_of(kind, {}, kind.retry_after_s),
            "id": rq_id,
            "queue_name": kind.lane,
            "timeout": rq_timeout_s(kind),
            "description": kind.name,
            # rq-scheduler runs the same RQ job again and again: its record must outlive each run.
            "result_ttl": -1,
        }
        with suppress(NoSuchJobError):
            JsonJob.fetch(rq_id, connection=self._redis).delete()
        if isinstance(kind.schedule, int):
            first = datetime.now(UTC) + timedelta(seconds=kind.schedule)
            self._scheduler.schedule(first, ENTRY, interval=kind.schedule, **with_it)
        else:
            with _quiet_crontab():
                self._scheduler.cron(kind.schedule, ENTRY, **with_it)


@contextmanager
def _quiet_crontab() -> Iterator[None]:
    """Cron text means the machine's time zone: rq-scheduler gets that by a default that its crontab warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _same(job: Job, kind: JobKind) -> bool:
    schedule = job.meta.get("interval") if isinstance(kind.schedule, int) else job.meta.get("cron_string")
    try:
        payload = job.kwargs
    except DeserializationError:  # damaged, or not ours
        return False
    return (
        schedule == kind.schedule
        and job.origin == kind.lane
        and job.timeout == rq_timeout_s(kind)
        and payload == payload_of(kind, {}, kind.retry_after_s)
    )
