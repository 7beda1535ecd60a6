"""Which job somebody should look at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from inventory.job_queue import JobKind, JobQueue
from inventory.job_report import JobReport, previous_run, report
from persistence.database import Database
from worker.jobs.timetable import Timetable

Sql = Callable[..., list[tuple[object, ...]]]
KINDS = (
    JobKind(name="t.minute", description="Each minute", schedule=60),
    JobKind(name="t.quarter", description="Each quarter of an hour", schedule="*/15 * * * *"),
    JobKind(name="t.asked", description="When asked for"),
)
NOW = datetime.now(UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, pool_size=1)
    yield opened
    await opened.close()


@pytest.fixture
def ran(sql: Sql) -> Callable[..., None]:
    def insert(job: str, ago_s: float, status: str = "ok", took_s: float = 1.0, limit_s: float = 60.0) -> None:
        started = NOW - timedelta(seconds=ago_s)
        ended = None if status == "running" else started + timedelta(seconds=took_s)
        sql(
            "INSERT INTO job_runs (job, run_id, arguments, started_at, deadline_at, ended_at, status, told)"
            " VALUES (%s, 'r', '', %s, %s, %s, %s, 'so it went')",
            job, started, started + timedelta(seconds=limit_s), ended, status,
        )  # fmt: skip

    return insert


async def look(database: Database, redis_url: str, job: str, *, now: datetime = NOW) -> JobReport:
    timetable = Timetable(redis_url, KINDS)
    timetable.declare()
    timetable.close()
    queue = JobQueue(redis_url, KINDS)
    found = await report(database, queue, now)
    queue.close()
    assert found.queue_reachable
    return {one.kind.name: one for one in found.jobs}[job]


@pytest.fixture
def jobs_url(job_settings: object) -> str:
    return str(job_settings.jobs_url)  # type: ignore[attr-defined]


async def test_the_last_run_decides(database: Database, jobs_url: str, ran: Callable[..., None], sql: Sql) -> None:
    for status, healthy in (("ok", True), ("failed", False), ("killed", False)):
        sql("DELETE FROM job_runs")
        ran("t.asked", 9000, "ok")
        ran("t.asked", 5000, status)
        found = await look(database, jobs_url, "t.asked")
        assert (found.health, found.healthy, found.next_run_at) == (status, healthy, None)
        assert found.last_run is not None
        assert found.last_run.told == "so it went"
        assert found.last_ok_at == NOW - timedelta(seconds=4999 if status == "ok" else 8999)


async def test_an_interval(database: Database, jobs_url: str, ran: Callable[..., None], sql: Sql) -> None:
    cases = (
        (100, "ok", "ok"),
        (239, "ok", "ok"),
        (242, "ok", "overdue"),
        (500, "failed", "overdue"),
        (10, "failed", "failed"),
        (239, "running", "running"),
        (241, "running", "lost"),
    )
    for ago_s, status, health in cases:
        sql("DELETE FROM job_runs")
        ran("t.minute", ago_s, status)
        assert (await look(database, jobs_url, "t.minute")).health == health, (ago_s, status)


async def test_one_that_never_ran_is_late_only_if_it_should_have(database: Database, jobs_url: str) -> None:
    found = await look(database, jobs_url, "t.minute")
    assert found.health == "never ran"
    assert found.next_run_at is not None
    later = datetime.now(UTC) + timedelta(seconds=250)
    assert (await look(database, jobs_url, "t.minute", now=later)).health == "overdue"
    assert (await look(database, jobs_url, "t.asked", now=later)).health == "never ran"


async def test_cron_text(database: Database, jobs_url: str, ran: Callable[..., None]) -> None:
    ran("t.quarter", 0)
    quarter = NOW + timedelta(minutes=15 - NOW.minute % 15, seconds=-NOW.second, microseconds=-NOW.microsecond)
    # Run just before the quarter: the one of the quarter is missing 3 minutes later, and not earlier.
    assert (await look(database, jobs_url, "t.quarter", now=quarter + timedelta(seconds=170))).health == "ok"
    assert (await look(database, jobs_url, "t.quarter", now=quarter + timedelta(seconds=190))).health == "overdue"


def test_the_run_before() -> None:
    noon = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
    assert previous_run("*/15 * * * *", noon) == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert previous_run(60, noon) == datetime(2026, 11, 20, 11, 59, 30, tzinfo=UTC)


async def test_an_emptied_or_absent_queue_is_told(database: Database) -> None:
    queue = JobQueue("unix:///nowhere/redis.sock?db=1", KINDS)
    found = await report(database, queue, NOW)
    assert not found.queue_reachable
    assert {job.health for job in found.jobs} == {"never ran"}
