"""Try mutants in several worker processes and hold what survives against tests/mutants/survivors.toml.

    python -m tests.mutants [--sample N --seed S] [--only TEXT] [--jobs N] [--record FILE [--again]] [--list]

Owns the choice of mutants, the workers' lives and the verdict; never judges a mutant itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import lua
from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.outcomes import Outcome, Request

GOAL: Final = 0.95
ROOT: Final = Path(__file__).parents[2]
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")


class ControlFailed(Exception):
    """The runner cannot tell a live mutant from a dead one; its figures would mean nothing."""


def controls() -> list[Mutant]:
    """A mutant that changes nothing and must survive, and one that sells everything twice and must not."""
    file = "commands/reserve.lua"
    text = (lua.FOLDER / file).read_text(encoding="utf-8")
    broken = text.replace("quantity <= level[1] - level[2] - level[3]", "quantity <= level[1] - level[3]")
    assert broken != text
    return [
        Mutant("control: nothing changed", file, 0, "control", text + "-- the end\n"),
        Mutant("control: oversells", file, 0, "control", broken),
    ]


class Lane:
    """One worker process and its two pipes."""

    def __init__(self, tests: Sequence[str] = ()) -> None:
        requests, self._requests = os.pipe()
        self._outcomes, outcomes = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.worker", str(requests), str(outcomes), *tests],
            cwd=ROOT,
            pass_fds=(requests, outcomes),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        os.close(requests)
        os.close(outcomes)
        self._to = os.fdopen(self._requests, "w")
        self._from = os.fdopen(self._outcomes)

    def attempt(self, mutant: Mutant, first: str = "") -> Outcome:
        """Raises EOFError or BrokenPipeError when the worker is gone. `first`: the test to begin with."""
        request = Request(mutant.name, mutant.file, mutant.text, first)
        self._to.write(json.dumps(request.__dict__) + "\n")
        self._to.flush()
        line = self._from.readline()
        if not line:
            raise EOFError
        return Outcome(**json.loads(line))

    def close(self) -> str:
        """What it said, once it has ended."""
        for pipe in (self._to, self._from):
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        said, _ = self.process.communicate(timeout=120)
        return said.decode(errors="replace")


def digest(mutant: Mutant) -> str:
    """What a mutant is: its name, and every byte of its file."""
    return hashlib.sha256(f"{mutant.name}\n{mutant.text}".encode()).hexdigest()[:16]


def recorded(record: Path | None, mutants: Sequence[Mutant], again: bool = False) -> list[Outcome]:
    """Outcomes of an earlier run that was ended, of those `mutants` that are still the same; the latest of each.

    `again`: only of those that were killed, so that the others meet the tests written since.
    """
    same = {digest(mutant) for mutant in mutants}
    latest = {mutant: outcome for mutant, outcome in _lines_of(record) if mutant in same}
    return [outcome for outcome in latest.values() if not again or outcome.kind == "killed"]


def _lines_of(record: Path | None) -> list[tuple[str, Outcome]]:
    """Digest and outcome of everything that was ever tried."""
    if record is None or not record.exists():
        return []
    # The last line may have been cut off.
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").split("\n")[:-1]]
    return [(line["mutant"], Outcome(**line["outcome"])) for line in lines]


def try_all(
    mutants: Sequence[Mutant], jobs: int, console: Console, record: Path | None = None, again: bool = False
) -> list[Outcome]:
    """Every mutant's outcome. Raises ControlFailed when a worker does not pass the controls.

    `record`: a file with what was tried before, to which every outcome is added; `again`: see `recorded`.
    """
    outcomes = recorded(record, mutants, again)
    done = {outcome.name for outcome in outcomes}
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in mutants:
        if mutant.name not in done:
            waiting.put(mutant)
    # Of a file that was changed every mutant is another; most are still seen by the same test.
    seen_by = {outcome.name: outcome.by for _, outcome in _lines_of(record) if outcome.kind == "killed"}
    digests = {mutant.name: digest(mutant) for mutant in mutants}
    faults: list[BaseException] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("mutants", total=len(mutants))

        def told(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if record is not None:
                with record.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"mutant": digests[outcome.name], "outcome": outcome.__dict__}) + "\n")
            survived = sum(one.kind == "survived" for one in outcomes)
            progress.update(bar, completed=len(outcomes), description=f"mutants, {survived} survived")
            if outcome.kind in ("survived", "broken"):
                console.print(f"{outcome.kind}: {outcome.name}", markup=False, highlight=False, soft_wrap=True)
            elif not console.is_terminal and len(outcomes) % 100 == 0:
                console.print(f"{len(outcomes)} of {len(mutants)}")

        def work() -> None:
            try:
                _work(waiting, told, seen_by)
            except BaseException as error:  # noqa: BLE001 - carried to the main thread
                faults.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]
    return outcomes


def _work(waiting: queue.SimpleQueue[Mutant], told: Callable[[Outcome], None], seen_by: Mapping[str, str]) -> None:
    lane: Lane | None = None
    mutant: Mutant | None = None
    attempts = 0
    while True:
        if mutant is None:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                break
            attempts = 0
        if lane is None:
            lane = checked_lane()
        try:
            outcome = lane.attempt(mutant, seen_by.get(mutant.name, ""))
        except (EOFError, BrokenPipeError):
            # The worker left because its server was stuck in an earlier mutant: this one begins anew.
            said = lane.close()
            lane, attempts = None, attempts + 1
            if attempts == 3:
                raise ControlFailed(f"a worker ends at once:\n{said}") from None
            continue
        told(outcome)
        mutant = None
    if lane is not None:
        lane.close()


def checked_lane(tests: Sequence[str] = ()) -> Lane:
    """A worker that has shown that it can tell one from the other; `tests`: other ones than all script tests."""
    lane = Lane(tests)
    for control, expected in zip(controls(), ("survived", "killed"), strict=True):
        try:
            outcome = lane.attempt(control)
        except (EOFError, BrokenPipeError):
            raise ControlFailed(lane.close()) from None
        if outcome.kind != expected:
            lane.close()
            raise ControlFailed(f"{control.name}: {outcome.kind} ({outcome.by}), not {expected}")
    return lane


@dataclass(frozen=True)
class Verdict:
    """What a run says."""

    killed: int
    survived: tuple[str, ...]
    not_loaded: int
    broken: tuple[str, ...]
    unexplained: tuple[str, ...]
    outdated: tuple[str, ...]
    """Explained as survivors, but killed, or no mutants any more."""

    @property
    def rate(self) -> float:
        return self.killed / max(1, self.killed + len(self.survived))

    def objections(self, goal: float = GOAL) -> list[str]:
        """Why the run fails; empty when it does not. The goal is one for all mutants, not for a chosen few."""
        said = [f"survived without an explanation: {name}" for name in self.unexplained]
        said += [f"explained as a survivor, but is none: {name}" for name in self.outdated]
        said += [f"could not be tried: {name}" for name in self.broken]
        if self.rate < goal:
            said.append(f"{self.rate:.1%} killed, the goal is {goal:.0%}")
        return said


def explanations(path: Path = SURVIVORS) -> dict[str, str]:
    """Name of a mutant that is known to survive -> why nothing can tell it from the original."""
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: group["why"] for group in told.get("group", []) for name in group["mutants"]}


def judge(outcomes: Iterable[Outcome], known: dict[str, str], every_name: set[str]) -> Verdict:
    """The verdict on `outcomes`; `every_name`: all mutants there are, tried or not."""
    by_kind: dict[str, list[str]] = {"killed": [], "survived": [], "does not load": [], "broken": []}
    for outcome in outcomes:
        by_kind[outcome.kind].append(outcome.name)
    gone = [name for name in known if name not in every_name]
    caught = [name for name in (*by_kind["killed"], *by_kind["does not load"]) if name in known]
    return Verdict(
        killed=len(by_kind["killed"]),
        survived=tuple(by_kind["survived"]),
        not_loaded=len(by_kind["does not load"]),
        broken=tuple(by_kind["broken"]),
        unexplained=tuple(name for name in by_kind["survived"] if name not in known),
        outdated=tuple(sorted(gone + caught)),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when enough are killed and every survivor is explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="try only so many, chosen by the seed")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", default="", help="try only mutants whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="only name the mutants")
    parser.add_argument("--report", type=Path, help="write every outcome here, as JSON")
    parser.add_argument(
        "--record", type=Path, help="note every outcome here; the same command again goes on from there"
    )
    parser.add_argument("--again", action="store_true", help="of the record trust only what was killed")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    every = mutants_of(lua.FOLDER)
    mutants = [mutant for mutant in every if chosen.only in mutant.name]
    if chosen.list:
        for mutant in mutants:
            console.print(mutant.name, markup=False, soft_wrap=True)
        return 0
    seed = random.randrange(2**31) if chosen.seed is None else chosen.seed
    if chosen.sample and chosen.sample < len(mutants):
        console.print(f"seed {seed}")
        mutants = random.Random(seed).sample(mutants, chosen.sample)
    else:
        random.Random(0).shuffle(mutants)
    begun = time.monotonic()
    outcomes = try_all(mutants, chosen.jobs, console, chosen.record, chosen.again)
    verdict = judge(outcomes, explanations(), {mutant.name for mutant in every})
    if chosen.report:
        chosen.report.write_text(json.dumps([outcome.__dict__ for outcome in outcomes], indent=1) + "\n")
    _print_figures(verdict, mutants, console, time.monotonic() - begun)
    objections = verdict.objections(goal=0.0 if chosen.only else GOAL)
    for objection in objections:
        console.print(objection, markup=False, soft_wrap=True, style="red")
    return 1 if objections else 0


def _print_figures(verdict: Verdict, mutants: Sequence[Mutant], console: Console, seconds: float) -> None:
    survivors = set(verdict.survived)
    tried = Counter(mutant.kind for mutant in mutants)
    alive = Counter(mutant.kind for mutant in mutants if mutant.name in survivors)
    for kind, count in sorted(tried.items()):
        console.print(f"{kind:16} {count:5} tried {alive[kind]:4} survived")
    console.print(
        f"{verdict.killed} killed, {len(verdict.survived)} survived ({verdict.rate:.1%} killed), "
        f"{verdict.not_loaded} do not even load and count for neither; {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
