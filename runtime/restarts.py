"""Keeps one child alive: notices its end, starts it again after a growing pause, remembers how often.

Owns the back-off; never waits (it is asked again and again) and never prints.
"""

from __future__ import annotations

import signal
import subprocess
from typing import Final, Literal, Protocol

from msgspec import Struct

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 30.0
CALM_S: Final = 60.0
"""A child that has run this long starts again with the first pause."""

State = Literal["starting", "running", "waiting", "stopped"]


class Program(Protocol):
    """What can be kept alive: an embedded server or one of our own processes."""

    @property
    def process(self) -> subprocess.Popen[bytes]: ...  # noqa: D102
    def launch(self) -> None: ...  # noqa: D102
    def is_ready(self) -> bool: ...  # noqa: D102
    def stop(self, timeout_s: float) -> None: ...  # noqa: D102
    def end_of_log(self) -> str: ...  # noqa: D102


class Change(Struct, frozen=True):
    """Something happened to a child that people should be told."""

    name: str
    kind: Literal["ready", "ended", "failed"]
    text: str


class KeptAlive:
    """A child and its restarts. Times are of one monotonic clock, in seconds."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.program = program
        self.state: State = "stopped"
        self.restarts = 0
        self.since_s = 0.0
        """When the present state began."""
        self.note = ""
        """Why it is not running, in a few words."""
        self._pause_s = FIRST_PAUSE_S
        self._again_at_s = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it has one."""
        return self.program.process.pid if self.state in {"starting", "running"} else None

    def adopt(self, now_s: float) -> None:
        """Take over a program that was started and awaited elsewhere."""
        self._enter("running", now_s)

    def launch(self, now_s: float) -> Change | None:
        """Start it for the first time."""
        return self._launch(now_s)

    def step(self, now_s: float) -> Change | None:
        """Look at it once; what changed, if anything did."""
        if self.state == "waiting":
            if now_s < self._again_at_s:
                return None
            self.restarts += 1
            return self._launch(now_s)
        if self.state == "stopped":
            return None
        code = self.program.process.poll()
        if code is not None:
            return self._ended(now_s, f"ended {_cause(code)}", self.program.end_of_log())
        if self.state == "starting" and self.program.is_ready():
            self._enter("running", now_s)
            return Change(self.name, "ready", f"{self.name} is ready (process {self.program.process.pid})")
        return None

    def stop(self, timeout_s: float, now_s: float) -> None:
        """End it and don't start it again."""
        self.program.stop(timeout_s)
        self._enter("stopped", now_s)

    def _launch(self, now_s: float) -> Change | None:
        try:
            self.program.launch()
        except (OSError, RuntimeError) as error:
            change = self._ended(now_s, f"can't be started: {error}", "")
            return Change(self.name, "failed", change.text)
        self._enter("starting", now_s)
        return None

    def _ended(self, now_s: float, what: str, last_words: str) -> Change:
        if self.state == "running" and now_s - self.since_s >= CALM_S:
            self._pause_s = FIRST_PAUSE_S
        pause_s = self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        self._again_at_s = now_s + pause_s
        self._enter("waiting", now_s)
        self.note = what
        said = f" ({last_words})" if last_words else ""
        return Change(self.name, "ended", f"{self.name} {what}{said}; starting it again in {pause_s:g} s")

    def _enter(self, state: State, now_s: float) -> None:
        self.state = state
        self.since_s = now_s
        self.note = ""


def _cause(code: int) -> str:
    if code >= 0:
        return f"with code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
