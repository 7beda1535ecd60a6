"""Histories as files, and how events become operations and steps."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.checkers.history import (
    NOT_APPLIED,
    Answer,
    BrokenHistory,
    Call,
    Event,
    history_of,
    read_history,
    write_events,
)
from tests.checkers.linearizability import check, steps_of
from tests.checkers.written import Written


def test_a_history_survives_a_file_and_a_torn_last_line(tmp_path: Path) -> None:
    run = Written(A=5)
    run.op(0, 5, "reserve", "r1", "A=2", ttl_ms=1_000, held="A=2", state="ACTIVE")
    run.op(6, 7, "availability", lines="A=1", available="A=3", levels=(("A", 5, 2),))
    path = tmp_path / "run.jsonl"
    with path.open("wb") as file:
        write_events(file, run.events)

    assert read_history(path) == run.history()

    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert read_history(path) == history_of(run.events[:-1]), "a look without its answer says nothing"
    path.write_bytes(whole.replace(b'"event":"call"', b'"event":"cal"', 1))
    with pytest.raises(BrokenHistory, match="line 2"):
        read_history(path)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([Answer(1, 5, "ok")], "no call"),
        ([Call(1, 5, "c", "read"), Call(1, 6, "c", "read")], "two calls"),
        ([Call(1, 5, "c", "read"), Answer(1, 6, "ok"), Answer(1, 7, "ok")], "two answers"),
        ([Call(1, 5, "c", "read"), Answer(1, 4, "ok")], "before its call"),
    ],
)
def test_lines_that_make_no_history(events: list[Event], why: str) -> None:
    with pytest.raises(BrokenHistory, match=why):
        history_of(events)


def test_what_was_certainly_not_done_is_left_out() -> None:
    run = Written(A=5)
    run.op(0, 5, "reserve", "r1", "A=2", status=NOT_APPLIED)
    run.op(6, 7, "availability", lines="A=1", available="A=5")

    assert len(run.history().operations) == 1
    assert check(run.history()).ok


def test_steps_know_the_deadlines_that_can_matter() -> None:
    run = Written(A=5)
    run.op(0, 5, "reserve", "r1", "A=2", ttl_ms=1_000)
    run.op(0, 5, "reserve", "r2", "A=2", ttl_ms=60_000)
    run.op(2_000, 2_001, "availability", lines="A=1", available="A=3")
    deadlines = [one for one in steps_of(list(run.history().operations), 20) if one.answer is None]

    assert [(one.called_ns, one.returned_ns) for one in deadlines] == [(980_000_000, 1_025_000_000)]
    assert msgspec.structs.asdict(deadlines[0].call)["base"] == "r1"
