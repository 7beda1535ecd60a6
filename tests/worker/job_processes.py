"""Job processes as tests start and end them. Owns the child processes; asserts nothing about jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.runtime.up_process import descendants, is_alive
from tests.waiting import wait_until
from worker.jobs.context import JobSettings


class RunningJobs:
    """One job process with the jobs of job_process_main.py."""

    def __init__(self, settings: JobSettings, folder: Path) -> None:
        self.folder = folder
        self._log = (folder / f"jobs-{os.urandom(3).hex()}.log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker.job_process_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "TICKS": str(folder / "ticks")},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(settings))
        self.process.stdin.close()

    def wait_until_ready(self) -> RunningJobs:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", self.log()
        return self

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()

    def workers(self) -> list[int]:
        """Process ids of the RQ workers."""
        horses = {pid for one in descendants(self.process.pid) for pid in descendants(one)}
        return [pid for pid in descendants(self.process.pid) if pid not in horses]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; fails if anything outlives it."""
        children = descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(30)
        wait_until(lambda: not [pid for pid in children if is_alive(pid)], 60, "no orphan")
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
