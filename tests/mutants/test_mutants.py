"""The mutator itself: that it makes the slips it names, tells a live mutant from a dead one, and lets nothing pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

import lua
from tests.mutants import run
from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.outcomes import Outcome

SOURCE = """-- a comment with 1 < 2 and not 3
local function keep(a, b)
  if a < 10 and not b then
    stock[1] = a - 1
    write(stock[1])
  end
  return answer(OK)
end
"""

SLIPS = {
    "operator: if a < 10 and not b then: < -> <=",
    "operator: if a < 10 and not b then: < -> >",
    "operator: if a < 10 and not b then: and -> or",
    "operator: if a < 10 and not b then: not -> nothing",
    "operator: stock[1] = a - 1: - -> +",
    "number: if a < 10 and not b then: 10 -> 9",
    "number: if a < 10 and not b then: 10 -> 11",
    "number: stock[1] = a - 1: 1 -> 2",
    "number: stock[1] = a - 1: 1 -> 2 #2",
    "number: stock[1] = a - 1: 1 -> 0",
    "number: write(stock[1]): 1 -> 2",
    "drop operand: if a < 10 and not b then: a < 10 and -> nothing",
    "drop operand: if a < 10 and not b then: and not b -> nothing",
    "negate: if a < 10 and not b then: a < 10 and not b -> not (a < 10 and not b)",
    "drop statement: stock[1] = a - 1: stock[1] = a - 1 -> nothing",
    "drop statement: write(stock[1]): write(stock[1]) -> nothing",
    "return early: write(stock[1]): nothing -> do return end",
    "reorder: stock[1] = a - 1: stock[1] = a - 1 write(stock[1]) -> write(stock[1]) stock[1] = a - 1",
    "drop return: return answer(OK): return -> nothing",
}


def test_every_slip_once(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "commands").mkdir()
    (tmp_path / "apply.lua").write_text("")
    (tmp_path / "lib" / "keep.lua").write_text(SOURCE)
    assert {one.name.removeprefix("lib/keep.lua: ") for one in mutants_of(tmp_path)} == SLIPS


def test_names_are_unique_and_every_file_has_some() -> None:
    mutants = mutants_of(lua.FOLDER)
    assert len({mutant.name for mutant in mutants}) == len(mutants) > 1_500
    assert len({mutant.text for mutant in mutants}) == len(mutants)
    # The short scripts of a start and of a recovery are no part of the state machine: tests/worker looks after them.
    others = {"open.lua", "fence.lua", "wipe.lua", "restore.lua", "reopen.lua"}
    files = {path.relative_to(lua.FOLDER).as_posix() for path in lua.FOLDER.rglob("*.lua")} - others
    assert {mutant.file for mutant in mutants} >= files


def test_every_explanation_is_of_a_mutant() -> None:
    assert run.explanations().keys() <= {mutant.name for mutant in mutants_of(lua.FOLDER)}


@pytest.fixture(scope="module")
def lane() -> Iterator[run.Lane]:
    """A worker with few tests, which has passed the controls: one mutant lived, one did not."""
    lane = run.checked_lane(["tests/scripts/test_reserve.py"])
    yield lane
    lane.close()


@pytest.fixture(scope="module")
def harmless() -> Mutant:
    return run.controls()[0]


def test_one_that_stops_the_script(lane: run.Lane, harmless: Mutant) -> None:
    for text in ("while true do end\n", "error('no')\n"):
        assert lane.attempt(replace(harmless, text=text + harmless.text)).kind == "killed"
    assert lane.attempt(harmless).kind == "survived"


def test_one_that_is_no_lua(lane: run.Lane, harmless: Mutant) -> None:
    assert lane.attempt(replace(harmless, text="local = 1\n")).kind == "does not load"
    assert lane.attempt(harmless).kind == "survived"


def test_what_was_tried_before_is_not_tried_again_unless_it_is_another(tmp_path: Path, harmless: Mutant) -> None:
    record = tmp_path / "mutants.jsonl"
    other = replace(harmless, name="other")
    for mutant, kind in ((harmless, "killed"), (other, "survived")):
        line = {"mutant": run.digest(mutant), "outcome": {"name": mutant.name, "kind": kind, "by": "a test"}}
        with record.open("a") as file:
            file.write(json.dumps(line) + "\n")
    with record.open("a") as file:
        file.write('{"mutant": "cut')  # killed in the middle of a line

    assert run.recorded(record, [harmless]) == [Outcome(harmless.name, "killed", "a test")]
    changed = replace(other, text=other.text + "-- since then\n")
    assert run.recorded(record, [harmless, changed]) == [Outcome(harmless.name, "killed", "a test")]
    assert run.recorded(None, [harmless]) == []
    # Nothing is left to try: no worker is started.
    assert [one.kind for one in run.try_all([harmless, other], 0, Console(), record)] == ["killed", "survived"]


def test_what_survived_is_tried_again_when_asked_for_and_the_latest_outcome_counts(
    tmp_path: Path, harmless: Mutant
) -> None:
    record = tmp_path / "mutants.jsonl"
    for kind in ("survived", "killed", "survived"):
        line = {"mutant": run.digest(harmless), "outcome": {"name": harmless.name, "kind": kind, "by": "a test"}}
        with record.open("a") as file:
            file.write(json.dumps(line) + "\n")
        assert run.recorded(record, [harmless]) == [outcome(harmless.name, kind, "a test")]
        assert [one.kind for one in run.recorded(record, [harmless], again=True)] == ["killed"] * (kind == "killed")


def test_a_runner_whose_tests_see_nothing_is_found_out() -> None:
    with pytest.raises(run.ControlFailed, match="oversells: survived"):
        run.checked_lane(["tests/scripts/test_announce.py"])


def outcome(name: str, kind: str, by: str = "") -> Outcome:
    return Outcome(name, kind, by)  # type: ignore[arg-type]


def test_the_verdict() -> None:
    names = {"a", "b", "c", "d"}
    tried = [outcome("a", "killed"), outcome("b", "survived"), outcome("c", "does not load")]
    verdict = run.judge(tried, {"b": "why"}, names)
    assert (verdict.killed, verdict.survived, verdict.not_loaded, verdict.rate) == (1, ("b",), 1, 0.5)
    assert verdict.objections() == ["50.0% killed, the goal is 95%"]


def test_what_the_verdict_objects_to() -> None:
    many = [outcome(str(n), "killed") for n in range(99)]
    names = {str(n) for n in range(99)} | {"alive"}
    assert run.judge([*many, outcome("alive", "survived")], {"alive": "why"}, names).objections() == []
    assert run.judge([*many, outcome("alive", "survived")], {}, names).unexplained == ("alive",)
    assert run.judge(many, {"3": "why"}, names).outdated == ("3",)
    assert run.judge(many, {"gone": "why"}, names).outdated == ("gone",)
    assert run.judge([*many, outcome("alive", "broken")], {}, names).broken == ("alive",)
