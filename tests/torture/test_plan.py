"""What `make torture` plans, and that a command that was ended goes on where it stood, with the same runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.torture.faults import ALL
from tests.torture.plan import LEVELS, RUNS_A_WORLD, in_worlds, planned
from tests.torture.record import Command, OtherCommand, Record, seed_of, table
from tests.torture.run import Report

COMMAND = Command(1200, 7, tuple(LEVELS), tuple(ALL))


def report(fault: str, level: str = "journal", verdict: str = "kept") -> Report:
    return Report(fault, level, 5, verdict, 40, "", 100, 3, 80, 1.0, 0.5)  # type: ignore[arg-type]


def test_every_fault_meets_each_of_its_levels() -> None:
    plan = planned(1200, 7, LEVELS, list(ALL))

    assert [one.number for one in plan] == list(range(1, 1201))
    assert {(one.fault, one.level) for one in plan} == {
        (fault.name, level) for fault in ALL.values() for level in LEVELS if level in fault.levels
    }
    runs = Counter(one.fault for one in plan)
    assert max(runs.values()) - min(runs.values()) <= 1
    assert plan == planned(1200, 7, LEVELS, list(ALL))
    assert plan != planned(1200, 8, LEVELS, list(ALL))


def test_worlds_have_one_level_and_end_with_what_spoils_them() -> None:
    plan = planned(1200, 7, LEVELS, list(ALL))
    worlds = in_worlds(plan)

    assert sorted(one.number for world in worlds for one in world) == [one.number for one in plan]
    for world in worlds:
        assert len({one.level for one in world}) == 1
        assert len(world) <= RUNS_A_WORLD
        assert not any(ALL[one.fault].spoils for one in world[:-1])
    assert len({world[0].level for world in worlds[: len(LEVELS)]}) == len(LEVELS), "levels take turns"


def test_one_run_is_the_one_on_the_command_line() -> None:
    (one,) = planned(1, 99, ["fsync"], ["kill-redis"])
    assert (one.fault, one.level, one.seed) == ("kill-redis", "fsync", 99)


def test_a_fault_that_says_nothing_about_a_level_is_not_planned() -> None:
    assert planned(10, 1, ["fsync"], ["aof-cut"]) == []


def test_what_was_done_is_known_to_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "torture.jsonl"
    assert seed_of(path) is None
    record = Record(COMMAND, path)
    record.add(3, report("kill-api"))
    record.add(1, report("poison", "fsync", "broken"))
    record.add(2, None)
    with path.open("ab") as file:
        file.write(b'{"number":4,"repo')  # killed in the middle of a line

    again = Record(COMMAND, path)

    assert seed_of(path) == 7
    assert set(again.done) == {1, 2, 3}
    assert [one.fault for one in again.reports] == ["poison", "kill-api"]
    again.add(4, report("poison"))
    assert set(Record(COMMAND, path).done) == {1, 2, 3, 4}


def test_the_record_of_another_command_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "torture.jsonl"
    Record(COMMAND, path)
    before = path.read_bytes()

    with pytest.raises(OtherCommand, match="1200 runs, seed 7"):
        Record(msgspec.structs.replace(COMMAND, seed=8), path)

    assert path.read_bytes() == before


def test_the_table_has_a_line_a_fault() -> None:
    head, *lines = table([report("poison"), report("poison", "fsync", "broken"), report("kill-api")])
    assert head.split()[:3] == ["fault", "journal", "fsync"]
    assert [line.split()[:4] for line in lines] == [["kill-api", "1", "0", "0"], ["poison", "1", "1", "1"]]
