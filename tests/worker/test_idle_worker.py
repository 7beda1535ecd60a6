"""An RQ worker with nothing to do: it keeps its connection, and its log stays empty."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import redis

from tests.waiting import wait_until
from worker.jobs.context import JobSettings

LONGER_THAN_A_READ_OF_REDIS_PY_S = 7
"""redis-py gives a read 5 s unless it is told otherwise; a worker waits for its next job much longer than that."""

WORKER = """
import sys, msgspec
from runtime.logs import configure_logs
from tests.worker.job_process_main import JOBS
from worker.jobs.context import JobSettings
from worker.jobs.horse import work
configure_logs("jobs", form="json")
work(msgspec.json.decode(sys.stdin.buffer.read(), type=JobSettings), JOBS, ["long"])
"""


def test_an_idle_worker_waits_on_one_connection(
    job_settings: JobSettings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    def waiting_s() -> int:
        """For how long the worker has been in its blocking read, on one connection."""
        return max(
            (int(one["idle"]) for one in redis_client.client_list() if one["cmd"] in ("blpop", "blmove")), default=0
        )

    with (tmp_path / "log").open("w+b") as log:
        process = subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stderr=log)
        try:
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(job_settings))
            process.stdin.close()
            wait_until(lambda: waiting_s() >= LONGER_THAN_A_READ_OF_REDIS_PY_S, 60, "an undisturbed wait", 0.2)
        finally:
            process.terminate()
            process.wait(30)
    assert (tmp_path / "log").read_text() == ""
