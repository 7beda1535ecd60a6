"""`python -m tests.torture`: run faults against a real service and say of each whether every promise was kept.

Owns the command line and what is printed. Every random choice follows from the seeds printed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path

from tests.torture.faults import ALL
from tests.torture.plan import LEVELS, Planned, in_worlds, planned
from tests.torture.record import Command, OtherCommand, Record, seed_of, table
from tests.torture.run import Report, run
from tests.torture.world import Level, World


def main() -> int:
    """0: every run kept every promise. 1: one did not. 2: nothing was run."""
    given = _arguments()
    if given.list:
        for fault in ALL.values():
            print(f"{fault.name:<26} {fault.what}")
        return 0
    seed = given.seed
    if seed is None and given.record is not None:
        seed = seed_of(given.record)
    try:
        torture = Torture(
            runs=given.runs,
            seed=seed if seed is not None else secrets.randbelow(2**31),
            levels=given.level or list(LEVELS),
            faults=given.fault or list(ALL),
            keep_going=given.keep_going,
            keep=given.keep,
            record=given.record,
        )
    except OtherCommand as error:
        say(str(error))
        return 2
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
    parser.add_argument("--record", type=Path, help="write every run here; the same command again goes on from there")
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
        record: Path | None = None,
        jobs: bool = True,
    ) -> None:
        """`faults`: names; empty: all. `keep`: leave the folder of every world behind, not only of broken ones.

        `record`: a file that may hold the first part of this very command. `jobs`: have a job process in each world.
        Raises OtherCommand.
        """
        self._command = Command(runs, seed, tuple(levels), tuple(faults or ALL))
        self._levels = list(levels)
        self._keep_going = keep_going
        self._keep = keep
        self._jobs = jobs
        self._record = Record(self._command, record)
        self.missing: dict[str, str] = {}

    @property
    def reports(self) -> list[Report]:
        return self._record.reports

    async def run(self) -> int:
        began = time.monotonic()
        command = self._command
        say(f"seed {command.seed}, {command.runs} runs, levels {', '.join(command.levels)}")
        plan = planned(command.runs, command.seed, self._levels, command.faults)
        left = [one for one in plan if one.number not in self._record.done]
        if len(left) < len(plan):
            say(f"{len(plan) - len(left)} of them were done before")
        for group in in_worlds(left):
            if not await self._in_one_world(group):
                break
        return self._summary(time.monotonic() - began, len(left))

    async def _in_one_world(self, group: list[Planned]) -> bool:
        """False when there is no point in going on. After a run that is not kept the others have a new world."""
        waiting = list(group)
        while waiting:
            world = World(waiting[0].level, say, jobs=self._jobs)
            keep = self._keep
            try:
                await world.start()
                say(f"-- {world.level}: {len(waiting)} runs in this world")
                while waiting:
                    one = waiting.pop(0)
                    name = self._available(world, one)
                    if not name:
                        self._record.add(one.number, None)
                        continue
                    report = await run(world, ALL[name], one.seed, "levels" if waiting else "deep")
                    self._tell(one, report)
                    if report.verdict != "kept":
                        keep = True
                        for mistake in world.mistakes():
                            say(f"      {mistake}")
                        if not self._keep_going:
                            return False
                        break
                    if ALL[name].spoils:
                        break
            finally:
                await world.close(keep=keep)
        return True

    def _available(self, world: World, one: Planned) -> str:
        """The fault that is planned, or, where it cannot be had, another one; empty when there is none."""
        why = ALL[one.fault].missing(world)
        if not why:
            return one.fault
        if one.fault not in self.missing:
            say(f"   {one.fault:<24} not available: {why}")
        self.missing[one.fault] = why
        # It counts for nothing, and its turn goes to one that can be had.
        others = [
            name
            for name in self._command.faults
            if one.level in ALL[name].levels and not ALL[name].missing(world) and not ALL[name].spoils
        ]
        return random.Random(one.seed).choice(others) if others else ""

    def _tell(self, one: Planned, report: Report) -> None:
        self._record.add(one.number, report)
        say(
            f"{len(self._record.done):>5}/{self._command.runs} {report.fault:<24} {report.level:<10}"
            f" seed {report.seed:<11} at answer {report.moment:<4} {report.verdict:<12} {report.calls:>4} calls"
            f" {report.unknown:>4} unsure {report.events:>5} events back in {report.back_s:4.1f} s,"
            f" {report.took_s:4.1f} s  {report.details}"
        )
        if report.verdict != "kept":
            for objection in report.objections[:20]:
                say(f"      {objection}")
            say(
                f"   again: python -m tests.torture --runs 1 --fault {report.fault} --level {report.level}"
                f" --seed {report.seed}"
            )

    def _summary(self, took_s: float, tried: int) -> int:
        reports = self.reports
        verdicts = Counter(report.verdict for report in reports)
        for line in table(reports):
            say(line)
        say(
            f"{len(reports)} runs of {len({report.fault for report in reports})} faults: "
            + ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
            + f"; {sum(report.calls for report in reports):,} calls,"
            f" {sum(report.unknown for report in reports):,} unsure,"
            f" {sum(report.events for report in reports):,} events; seed {self._command.seed};"
            f" the last {min(tried, len(reports))} in {took_s:.0f} s"
        )
        for name, why in self.missing.items():
            say(f"not available: {name}: {why}")
        if not reports:
            return 2
        return 0 if set(verdicts) <= {"kept"} else 1


if __name__ == "__main__":
    sys.exit(main())
