"""The job process with real forks: jobs run, fail, are tried again, killed, returned, scheduled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from msgspec import structs

from engine.bootstrap import open_partition
from inventory.job_queue import JobQueue, JsonJob, schedule_id
from runtime.embedded_redis import EmbeddedRedis
from runtime.jobs_redis import next_database
from tests.runtime.up_process import descendants, is_alive
from tests.waiting import wait_until
from tests.worker.conftest import Rows
from tests.worker.job_process_main import JOBS
from tests.worker.job_processes import RunningJobs, lines
from worker.jobs.context import JobSettings
from worker.jobs.horse import _perform
from worker.jobs.timetable import Timetable

StartJobs = Callable[..., RunningJobs]


@pytest.fixture
def queue(job_settings: JobSettings) -> Iterator[JobQueue]:
    opened = JobQueue(job_settings.jobs_url, JOBS.kinds)
    yield opened
    opened.close()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def runs(rows: Rows, job: str) -> list[tuple[object, ...]]:
    return rows("SELECT status, told FROM job_runs WHERE job = %s AND status <> 'running' ORDER BY id", job)


def test_jobs_run_and_are_written_down(start_jobs: StartJobs, queue: JobQueue, rows: Rows, trace: Path) -> None:
    running = start_jobs()
    assert queue.push("test.note", {"path": str(trace), "text": "Zürich", "number": 7})
    assert queue.push("test.fail", {"path": f"{trace}.fail"})
    assert queue.push("test.slow", {"path": f"{trace}.slow"})
    # More long jobs than workers keep no prompt one waiting.
    for number in range(3):
        queue.push("test.hang", {"path": f"{trace}.{number}"})
    asked_at = time.time()
    assert queue.push("test.note", {"path": f"{trace}.later", "text": "later"}, delay_s=1.2)

    wait_until(lambda: runs(rows, "test.note"), what=running.log())
    assert lines(trace) == ["Zürich"]
    assert runs(rows, "test.note")[0] == ("ok", "noted Zürich {'number': 7}")
    wait_until(lambda: len(lines(Path(f"{trace}.later"))) == 1, 60, "the one asked for later")
    assert Path(f"{trace}.later").stat().st_mtime >= asked_at + 1.2

    wait_until(lambda: len(runs(rows, "test.fail")) == 2, 60, "tried once more, as its kind says")
    assert runs(rows, "test.fail") == [("failed", "RuntimeError: it went wrong: over two lines")] * 2
    assert lines(Path(f"{trace}.fail")) == ["tried", "tried"]
    wait_until(lambda: runs(rows, "test.slow"), 60, "given up")
    assert runs(rows, "test.slow") == [("failed", "took longer than 1 s")]
    assert lines(Path(f"{trace}.0"))
    assert not lines(Path(f"{trace}.1"))


def test_killed_processes_are_noted_and_their_jobs_tried_again(
    start_jobs: StartJobs, queue: JobQueue, rows: Rows, trace: Path
) -> None:
    running = start_jobs(workers=1)
    queue.push("test.hang", {"path": str(trace)}, retry_after_s=(1,))
    wait_until(lambda: lines(trace), what=running.log())
    os.kill(int(lines(trace)[0]), signal.SIGKILL)
    wait_until(lambda: runs(rows, "test.hang"), what=running.log())
    assert runs(rows, "test.hang") == [("killed", "its process ended by signal 9")]
    wait_until(lambda: len(lines(trace)) == 2, 60, "the second try")

    (victim,) = running.workers()
    horse = int(lines(trace)[1])
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not is_alive(horse), what="the worker takes its horse with it")
    queue.push("test.note", {"path": f"{trace}.note"})
    wait_until(lambda: lines(Path(f"{trace}.note")), 60, "another worker")
    assert running.workers() != [victim]


def test_a_stop_lets_a_job_end_within_the_grace(
    start_jobs: StartJobs, queue: JobQueue, rows: Rows, trace: Path
) -> None:
    running = start_jobs(grace_s=20.0)
    queue.push("test.hang", {"path": str(trace)})
    wait_until(lambda: lines(trace), what=running.log())
    running.process.send_signal(signal.SIGTERM)
    idle = wait_until(lambda: len(running.workers()) == 1, what="the idle worker is gone, the busy one is not")
    assert idle
    Path(f"{trace}.end").touch()
    running.stop()
    assert runs(rows, "test.hang") == [("ok", "ended")]


def test_a_stop_returns_what_does_not_end(start_jobs: StartJobs, queue: JobQueue, rows: Rows, trace: Path) -> None:
    running = start_jobs(grace_s=0.5)
    queue.push("test.hang", {"path": str(trace)})
    wait_until(lambda: lines(trace), what=running.log())
    running.stop()
    assert runs(rows, "test.hang") == [("killed", "returned to its queue: the service was stopped")]
    Path(f"{trace}.end").touch()
    start_jobs()
    wait_until(lambda: lines(trace)[-1] == "ended", what="the next process runs it")
    wait_until(lambda: len(runs(rows, "test.hang")) == 2, what="written down")


def test_nothing_outlives_a_killed_process(start_jobs: StartJobs, queue: JobQueue, trace: Path) -> None:
    running = start_jobs(grace_s=0.5)
    queue.push("test.hang", {"path": str(trace)})
    wait_until(lambda: lines(trace), what=running.log())
    assert int(lines(trace)[0]) in descendants(running.process.pid)
    running.stop(signal.SIGKILL)
    assert not is_alive(int(lines(trace)[0]))


def test_only_our_own_jobs_are_run(
    start_jobs: StartJobs, queue: JobQueue, job_settings: JobSettings, trace: Path
) -> None:
    """Whoever writes into the jobs' Redis must not choose what runs: neither by name nor by pickle."""
    from rq import Queue
    from rq.serializers import JSONSerializer, PickleSerializer

    with redis.Redis.from_url(job_settings.jobs_url) as connection:
        Queue("prompt", connection=connection, serializer=JSONSerializer).enqueue("os.mkdir", f"{trace}.json")
        Queue("prompt", connection=connection, serializer=PickleSerializer).enqueue("os.mkdir", f"{trace}.pickle")
        start_jobs(workers=1)
        queue.push("test.note", {"path": str(trace)})
        wait_until(lambda: lines(trace), what="the honest job, behind them")
    assert not Path(f"{trace}.json").exists()
    assert not Path(f"{trace}.pickle").exists()


def test_schedules_fire_with_two_job_processes(
    start_jobs: StartJobs, queue: JobQueue, rows: Rows, tmp_path: Path
) -> None:
    first, second = start_jobs(wait=False), start_jobs(wait=False)
    for running in (first, second):
        running.wait_until_ready()
    wait_until(lambda: len(lines(tmp_path / "ticks")) >= 3, 20, "three ticks")
    planned = queue._planned()
    assert planned is not None
    assert set(planned) == {"test.tick", "test.yearly"}
    assert not [row for row in runs(rows, "test.tick") if row[0] != "ok"]
    first.stop(signal.SIGKILL)
    seen = len(lines(tmp_path / "ticks"))
    # Its lock, if it died with it, ends by itself after 11 s.
    wait_until(lambda: len(lines(tmp_path / "ticks")) >= seen + 2, 30, "the other goes on")


def test_the_timetable_is_that_of_the_registry(job_settings: JobSettings, redis_url: str, queue: JobQueue) -> None:
    tick, yearly = (JOBS[name].kind for name in ("test.tick", "test.yearly"))
    table = Timetable(job_settings.jobs_url, [tick, yearly])
    table.declare()
    with redis.Redis.from_url(job_settings.jobs_url) as connection:
        before = JsonJob.fetch(schedule_id("test.yearly"), connection=connection).created_at
        table.declare()
        assert JsonJob.fetch(schedule_id("test.yearly"), connection=connection).created_at == before
        connection.delete(f"rq:job:{schedule_id('test.tick')}")
        table.declare()
        connection.hset(f"rq:job:{schedule_id('test.yearly')}", "data", b"damaged")
        table.declare()
        assert JsonJob.fetch(schedule_id("test.yearly"), connection=connection).kwargs["job"] == "test.yearly"
        assert set(queue._planned() or ()) == {"test.tick", "test.yearly"}
        table.close()

        changed = Timetable(job_settings.jobs_url, [structs.replace(yearly, schedule="0 0 2 1 *", lane="long")])
        changed.declare()
        changed.close()
        job = JsonJob.fetch(schedule_id("test.yearly"), connection=connection)
        assert (job.meta["cron_string"], job.origin) == ("0 0 2 1 *", "long")
        assert set(queue._planned() or ()) == {"test.yearly"}


def test_a_delay_is_never_cut_short(job_settings: JobSettings, queue: JobQueue) -> None:
    """The scheduler knows whole seconds and rounds down."""
    with redis.Redis.from_url(job_settings.jobs_url) as connection:
        for delay_s in (0.01, 0.5, 1.2, 2.0):
            connection.delete("rq:scheduler:scheduled_jobs")
            before = time.time()
            queue.push("test.note", {"path": "/never"}, delay_s=delay_s)
            ((_, due_at),) = connection.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
            assert before + delay_s <= due_at <= time.time() + delay_s + 1


def test_work_goes_on_after_redis_came_back(
    start_jobs: StartJobs, make_redis: Callable[..., EmbeddedRedis], trace: Path
) -> None:
    server = make_redis()
    with server.client() as client:
        open_partition(client, epoch=1, ledger_seq=0)
    jobs_url = next_database(server.url)
    running = start_jobs(redis_url=server.url, jobs_url=jobs_url, workers=1)
    queue = JobQueue(jobs_url, JOBS.kinds)
    queue.push("test.note", {"path": str(trace)})
    wait_until(lambda: lines(trace), what=running.log())
    server.kill()
    wait_until(lambda: "schedules wait for the jobs' Redis" in running.log(), what="it is noticed")
    server.start()
    queue.push("test.note", {"path": str(trace)})
    wait_until(lambda: len(lines(trace)) == 2, 30, "workers go on")
    ticks = len(lines(running.folder / "ticks"))
    wait_until(lambda: len(lines(running.folder / "ticks")) > ticks, 30, "schedules go on")
    assert running.process.poll() is None
    queue.close()


async def test_a_restart_of_the_queue_loses_no_request(make_redis: Callable[..., EmbeddedRedis]) -> None:
    # everysec would do on an idle disk; a server that waits for one to sync writes up to two seconds late.
    server = make_redis(appendfsync="always")
    queue = JobQueue(server.url, JOBS.kinds)
    assert await queue.enqueue("test.note", path="/never")
    server.kill()
    server.start()
    assert await queue.enqueue("test.note", path="/never")
    with server.client() as client:
        assert client.llen("rq:queue:prompt") >= 2
    queue.close()


async def test_the_queue_away_is_no_error(job_settings: JobSettings) -> None:
    away = JobQueue("unix:///nowhere/redis.sock?db=1", JOBS.kinds)
    assert not await away.enqueue("test.note", path="/never")
    assert not await away.enqueue("test.note", delay_s=5, path="/never")
    assert await away.planned() is None
    with pytest.raises(ValueError, match=r"no job test\.none"):
        await away.enqueue("test.none")


@pytest.mark.parametrize("gone", ["database_url", "redis_url"])
def test_a_server_away_is_a_failed_run_that_is_tried_again(
    job_settings: JobSettings, queue: JobQueue, rows: Rows, trace: Path, gone: str
) -> None:
    away = {"database_url": "postgresql:///x?host=/nowhere", "redis_url": "unix:///nowhere/redis.sock"}
    settings = structs.replace(job_settings, **{gone: away[gone]})
    told = _perform(settings, JOBS, "test.note", {"path": str(trace)}, (30,))
    assert told.startswith("DatabaseUnavailable" if gone == "database_url" else "Disconnected"), told
    assert not trace.exists()
    assert len(runs(rows, "test.note")) == (gone == "redis_url")
    with redis.Redis.from_url(job_settings.jobs_url) as connection:
        assert connection.zcard("rq:scheduler:scheduled_jobs") == 1
