"""Keeping a child alive: back-off, reports, and what the display shows of it. Time is the test's."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from runtime.restarts import CALM_S, FIRST_PAUSE_S, LONGEST_PAUSE_S, KeptAlive
from runtime.status_display import StatusDisplay, duration, facts_line
from runtime.store import FactsNow


class Program:
    """A child that ends when told."""

    def __init__(self) -> None:
        self.launches = 0
        self.ready = True
        self.refuses = False
        self.process: subprocess.Popen[bytes] = subprocess.Popen([sys.executable, "-c", ""])

    def launch(self) -> None:
        self.launches += 1
        if self.refuses:
            raise OSError("no such program")
        self.process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def is_ready(self) -> bool:
        return self.ready

    def stop(self, timeout_s: float) -> None:
        self.end()

    def end_of_log(self) -> str:
        return "last words"


def test_a_child_that_ends_is_reported_and_started_again_later_and_later() -> None:
    program = Program()
    child = KeptAlive("worker", program)
    now = 0.0
    assert child.launch(now) is None
    pauses = []
    for _ in range(12):
        ready = child.step(now)
        assert ready is not None
        assert ready.kind == "ready"
        program.end()
        ended = child.step(now)
        assert ended is not None
        assert "worker ended by SIGKILL (last words)" in ended.text
        began = now
        while child.state == "waiting":
            now += 0.01
            child.step(now)
        pauses.append(now - began)
    assert pauses[0] == pytest.approx(FIRST_PAUSE_S, abs=0.02)
    assert pauses[1] == pytest.approx(2 * FIRST_PAUSE_S, abs=0.02)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S, abs=0.02)
    assert child.restarts == 12
    child.stop(1, now)


def test_a_calm_minute_forgives() -> None:
    program = Program()
    child = KeptAlive("worker", program)
    child.launch(0)
    for moment in (1.0, 10.0):
        child.step(moment)
        program.end()
        child.step(moment)
        child.step(moment + 5)
    child.step(20.0)
    program.end()
    change = child.step(20.0 + CALM_S)
    assert change is not None
    assert f"again in {FIRST_PAUSE_S:g} s" in change.text
    child.stop(1, 0)


def test_a_child_that_cannot_be_started_is_tried_again() -> None:
    program = Program()
    program.refuses = True
    child = KeptAlive("redis", program)
    change = child.launch(0)
    assert change is not None
    assert "can't be started: no such program" in change.text
    program.refuses = False
    child.step(1.0)
    assert child.state == "starting"
    child.stop(1, 2.0)


def test_a_stopped_child_stays_stopped(wait_until: Callable[..., Any]) -> None:
    program = Program()
    child = KeptAlive("worker", program)
    child.launch(0)
    child.stop(1, 1)
    assert child.step(100) is None
    assert (child.state, child.pid, program.launches) == ("stopped", None, 1)


def test_without_a_terminal_there_are_plain_lines_and_no_table() -> None:
    stream = io.StringIO()
    display = StatusDisplay(stream)
    display.say("Holdfast at http://127.0.0.1:8000")
    display.begin()
    display.show("title", [], FactsNow(1, 0, 0))
    display.end()
    assert stream.getvalue() == "Holdfast at http://127.0.0.1:8000\n"


def test_what_is_not_known_is_left_out() -> None:
    assert facts_line(FactsNow(1234, 0, 5)) == "journal 1,234 events · ledger up to date · 5 live holds"
    assert facts_line(FactsNow(1234, 7, None)) == "journal 1,234 events · ledger 7 events behind"
    assert facts_line(FactsNow(None, None, None)) == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (3600, "1 h"), (187_200, "2 d 4 h")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
