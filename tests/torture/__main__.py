"""`python -m tests.torture`: run faults against a real service and say of each whether every promise was kept.

Owns the command line, which runs there are and what is printed. Every random choice follows from the seeds printed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Sequence

from tests.torture.faults import ALL, Fault
from tests.torture.run import Report, run
from tests.torture.world import Level, World

LEVELS: tuple[Level, ...] = ("journal", "fsync", "ledger")
RUNS_A_WORLD = 30
"""A store that has seen this many faults makes room for a new one."""


def main() -> int:
    """0: every run kept every promise. 1: one did not. 2: nothing was run."""
    given = _arguments()
    if given.list:
        for fault in ALL.values():
            print(f"{fault.name:<26} {fault.what}")
        return 0
    torture = Torture(
        runs=given.runs,
        seed=given.seed if given.seed is not None else secrets.randbelow(2**31),
        levels=given.level or list(LEVELS),
        faults=given.fault or list(ALL),
        keep_going=given.keep_going,
        keep=given.keep,
    )
    return asyncio.run(ended_by_signals(torture.run()))


async def ended_by_signals(work: Coroutine[None, None, int]) -> int:
    """Servers are stopped and disks unmounted also when somebody loses patience."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        say("ended before its time")
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--runs", type=int, default=60, help="runs in all; the faults take turns (default 60)")
    parser.add_argument("--seed", type=int, help="of the first run; the others follow from it (default: any)")
    parser.add_argument("--fault", action="append", choices=sorted(ALL), help="only this one; may be repeated")
    parser.add_argument("--level", action="append", choices=LEVELS, help="durability level (default: all in turn)")
    parser.add_argument("--keep-going", action="store_true", help="go on after a broken promise")
    parser.add_argument("--keep", action="store_true", help="keep the folder of every world")
    parser.add_argument("--list", action="store_true", help="list the faults")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, flush=True)


class Torture:
    """One command's runs."""

    def __init__(
        self,
        runs: int,
        seed: int,
        levels: Sequence[Level] = LEVELS,
        faults: Sequence[str] = (),
        *,
        keep_going: bool = False,
        keep: bool = False,
    ) -> None:
        """`faults`: names; empty: all. `keep`: leave the folder of every world behind, not only of broken ones."""
        self._runs = runs
        self._seed = seed
        self._levels = list(levels)
        self._faults = [ALL[name] for name in faults or ALL]
        self._keep_going = keep_going
        self._keep = keep
        self.reports: list[Report] = []
        self.missing: dict[str, str] = {}

    async def run(self) -> int:
        began = time.monotonic()
        say(f"seed {self._seed}, {self._runs} runs, levels {', '.join(self._levels)}")
        per_level: dict[Level, list[tuple[Fault, int]]] = defaultdict(list)
        for fault, level, seed in self._plan():
            per_level[level].append((fault, seed))
        for level, runs in per_level.items():
            if not await self._run_level(level, runs):
                break
        return self._summary(time.monotonic() - began)

    def _plan(self) -> list[tuple[Fault, Level, int]]:
        """Faults in an order of the seed, each as often as the others; the first level gets half of all runs."""
        rng = random.Random(self._seed)
        if self._runs == 1:  # a run that is done again has its seed on the command line
            return [(self._faults[0], self._levels[0], self._seed)]
        plan: list[tuple[Fault, Level, int]] = []
        while len(plan) < self._runs and len(self.missing) < len(self._faults):
            for fault in rng.sample(self._faults, len(self._faults)):
                number = len(plan)
                levels = [level for level in self._levels if level in fault.levels]
                if not levels:
                    self.missing[fault.name] = f"says nothing about level {', '.join(self._levels)}"
                    continue
                level = levels[0] if number % 2 == 0 else levels[(number // 2) % len(levels)]
                plan.append((fault, level, rng.randrange(2**31)))
        return plan[: self._runs]

    async def _run_level(self, level: Level, runs: list[tuple[Fault, int]]) -> bool:
        """False when there is no point in going on."""
        # What spoils its world comes last, one after another.
        left = sorted(runs, key=lambda one: one[0].spoils)
        while left:
            world = World(level, say)
            keep = self._keep
            try:
                await world.start()
                say(f"-- {level}: {len(left)} runs to go")
                for number in range(RUNS_A_WORLD):
                    if not left:
                        break
                    fault, seed = left.pop(0)
                    why = fault.missing(world)
                    if why:
                        # It counts for nothing, and its turn goes to one that can be had.
                        self._tell_missing(fault, why)
                        others = [one for one in self._faults if level in one.levels and not one.missing(world)]
                        others = [one for one in others if not one.spoils] or others
                        if others:
                            left.insert(0, (random.Random(seed).choice(others), seed))
                        continue
                    last = number == RUNS_A_WORLD - 1 or not left
                    report = await run(world, fault, seed, "deep" if last else "levels")
                    self._tell(report)
                    if report.verdict != "kept":
                        keep = True
                        if not self._keep_going:
                            return False
                        break
                    if fault.spoils:
                        break
            finally:
                await world.close(keep=keep)
        return True

    def _tell_missing(self, fault: Fault, why: str) -> None:
        if fault.name not in self.missing:
            say(f"   {fault.name:<24} not available: {why}")
        self.missing[fault.name] = why

    def _tell(self, report: Report) -> None:
        self.reports.append(report)
        say(
            f"   {report.fault:<24} {report.level:<8} seed {report.seed:<11} at answer {report.moment:<4}"
            f" {report.verdict:<12} {report.calls:>4} calls {report.unknown:>4} unsure {report.events:>5} events"
            f" back in {report.back_s:4.1f} s, {report.took_s:4.1f} s  {report.details}"
        )
        if report.verdict != "kept":
            for objection in report.objections[:20]:
                say(f"      {objection}")
            say(
                f"   again: python -m tests.torture --runs 1 --fault {report.fault} --level {report.level}"
                f" --seed {report.seed}"
            )

    def _summary(self, took_s: float) -> int:
        verdicts = Counter(report.verdict for report in self.reports)
        say(
            f"{len(self.reports)} runs of {len({report.fault for report in self.reports})} faults in {took_s:.0f} s: "
            + ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
            + f"; {sum(report.calls for report in self.reports):,} calls,"
            f" {sum(report.unknown for report in self.reports):,} unsure,"
            f" {sum(report.events for report in self.reports):,} events; seed {self._seed}"
        )
        for name, why in self.missing.items():
            say(f"not available: {name}: {why}")
        if not self.reports:
            return 2
        return 0 if set(verdicts) <= {"kept"} else 1


if __name__ == "__main__":
    sys.exit(main())
