"""Pickles planted in the jobs' Redis are never loaded: not as a job, a schedule, a result, or beside an honest job.

Whoever can write there must gain nothing but Holdfast's own jobs.
"""

from __future__ import annotations

import os
import pickle
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import redis

from inventory.job_queue import JobQueue
from tests.waiting import wait_until
from tests.worker.job_process_main import JOBS
from tests.worker.job_processes import RunningJobs, lines
from worker.jobs.context import JobSettings


class Bomb:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (self.path,))


def test_the_bomb_goes_off_where_somebody_unpickles(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(str(tmp_path / "boom"))))  # noqa: S301 - to see that it is one
    assert (tmp_path / "boom").exists()


def test_planted_pickles_are_never_loaded(
    start_jobs: Callable[..., RunningJobs], job_settings: JobSettings, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    queue = JobQueue(job_settings.jobs_url, JOBS.kinds)
    bombs = []

    def bomb() -> bytes:
        bombs.append(tmp_path / f"boom-{len(bombs)}")
        return pickle.dumps(Bomb(str(bombs[-1])))

    with redis.Redis.from_url(job_settings.jobs_url) as connection:
        # What an honest job looks like here, to be bent where RQ keeps what it serializes.
        queue.push("test.note", {"path": str(trace), "text": "honest"})
        ((honest, *_), *_) = [connection.lrange("rq:queue:prompt", 0, -1)]
        fields = connection.hgetall(b"rq:job:" + honest)
        now = time.time()
        for name in (b"data", b"result"):
            for payload in (bomb(), zlib.compress(bomb())):
                planted = b"planted-%d" % len(bombs)
                connection.hset(b"rq:job:" + planted, mapping={**fields, name: payload})
                connection.lpush("rq:queue:prompt", planted)
                connection.sadd("rq:queues", "rq:queue:prompt")
                scheduled = b"scheduled-%d" % len(bombs)
                connection.hset(b"rq:job:" + scheduled, mapping={**fields, name: payload})
                connection.zadd("rq:scheduler:scheduled_jobs", {scheduled: now - 1})
        for payload in (bomb(), b"\xff", b"[]", b'{"interval": "x"}', b'"text"'):
            scheduled = b"with-meta-%d" % len(payload)
            connection.hset(b"rq:job:" + scheduled, mapping={**fields, b"meta": payload})
            connection.zadd("rq:scheduler:scheduled_jobs", {scheduled: now - 1})
        connection.xadd(b"rq:results:" + honest, {"type": "1", "return_value": bomb()})

        running = start_jobs()
        queue.push("test.note", {"path": str(trace), "text": "last"})
        wait_until(lambda: "last" in lines(trace), 30, what="the honest job behind them all")
        wait_until(
            lambda: not connection.zcount("rq:scheduler:scheduled_jobs", 0, now - 1), 30, "what was due is through"
        )
        wait_until(lambda: not connection.llen("rq:queue:prompt"), 60, what="the queue is empty")
        assert "honest" in lines(trace)
        ticks = len(lines(running.folder / "ticks"))
        wait_until(lambda: len(lines(running.folder / "ticks")) > ticks, 30, "schedules go on")
        assert running.process.poll() is None
    queue.close()
    assert len(bombs) == 6
    assert not [path for path in bombs if path.exists()]
