"""The job process: its RQ workers as forks of one loaded program, the schedules beside them.

Owns their start, their end and their restarts; never runs a job itself and opens nothing that a fork would share.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import structlog

from inventory.job_queue import Lane
from worker.jobs.context import JobSettings
from worker.jobs.horse import end_with_parent, work
from worker.jobs.registry import Registry
from worker.jobs.timetable import LOOK_EVERY_S, Timetable

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
CALM_S: Final = 60.0
"""A worker that has run this long is started again after the first pause."""
HARD_STOP_S: Final = 5.0
"""How long after the grace a worker that still hangs is killed."""

logger = structlog.get_logger("holdfast.jobs")


class JobProcess:
    """The whole of it. `run` once, in the main thread of a process with no other thread."""

    def __init__(self, settings: JobSettings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._stop = threading.Event()
        self._children: dict[int, int] = {}
        """Process id -> number of the worker."""
        self._began_at: dict[int, float] = {}
        self._again_at: dict[int, float] = {}
        self._pause_s: dict[int, float] = {}

    def run(self, ready: Callable[[], None]) -> None:
        """Work until SIGTERM or SIGINT; then let running jobs end, within the grace, and return."""
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, self._ask)
        # What is loaded now is the same in every fork: no collection shall touch, and so copy, its pages.
        gc.collect()
        gc.freeze()
        for number in range(self._settings.workers):
            self._fork(number)
        timetable = Timetable(self._settings.jobs_url, self._registry.kinds)
        ready()
        try:
            while not self._stop.wait(LOOK_EVERY_S):
                self._look_after()
                timetable.look()
        finally:
            self._end_all()
            timetable.close()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _lanes(self, number: int) -> tuple[Lane, ...]:
        if self._settings.workers == 1:
            return ("prompt", "long")
        return ("long", "prompt") if number == 0 else ("prompt",)

    def _fork(self, number: int) -> None:
        parent = os.getpid()
        self._began_at[number] = time.monotonic()
        pid = os.fork()
        if pid:
            self._children[pid] = number
            return
        code = 1
        try:
            # Until RQ has its own handlers a signal must not be swallowed by ours, which stop another process.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            end_with_parent(signal.SIGTERM, parent)
            work(self._settings, self._registry, self._lanes(number))
            code = 0
        except SystemExit:
            code = 0
        except BaseException:
            logger.exception("job worker ended by an error")
        finally:
            os._exit(code)

    def _look_after(self) -> None:
        now = time.monotonic()
        for pid, number in list(self._children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._children[pid]
                calm = now - self._began_at[number] >= CALM_S
                pause_s = FIRST_PAUSE_S if calm else self._pause_s.get(number, FIRST_PAUSE_S)
                self._pause_s[number] = min(LONGEST_PAUSE_S, pause_s * 2)
                self._again_at[number] = now + pause_s
                logger.warning("job worker ended", worker=number, status=status, again_in_s=pause_s)
        for number, at in list(self._again_at.items()):
            if at <= now:
                del self._again_at[number]
                self._fork(number)

    def _end_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + self._settings.grace_s + HARD_STOP_S
        while self._children:
            for pid in list(self._children):
                ended, _ = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del self._children[pid]
                elif time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
