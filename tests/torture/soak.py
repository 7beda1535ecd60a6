"""`python -m tests.torture.soak`: one service under mixed load for a long time, a fault every 20 seconds.

Owns which faults strike when, what is watched over time (memory, the lag of the ledger), and zero drift at the end.
What one fault may do is judged as in any other run, and whether memory is flat by memory_curve.py.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import time
from collections.abc import Sequence

from tests.torture.__main__ import ended_by_signals, say
from tests.torture.evidence import position, written
from tests.torture.faults import ALL
from tests.torture.faults.fault import Fault
from tests.torture.memory_curve import LEAST_AGE_S, WARM_UP_S, Curves
from tests.torture.plan import LEVELS
from tests.torture.run import Report, run
from tests.torture.world import World

FAULT_EVERY_S = 20.0
THINK_S = 0.1
KILLS_S = 300.0
"""For so long the service's own processes may be killed; from then on they live, for whether a process grows can only
be seen of one that grows old."""
LEFT_OUT = frozenset({"clock-forward", "clock-back"})
"""They move Redis' clock by more than the time for which the settings below have keys remembered: a repeat is then
rightly a new request."""
ENDS_OURS = frozenset({"kill-api", "kill-worker", "kill-jobs", "kill-everything"})

SETTINGS = {
    # What is remembered for hours by default would still be growing when the soak ends. Keys are remembered for as long
    # as the warm-up lasts, which is longer than a round may take on a busy machine: its last repeats come minutes late.
    "journal_keep_seconds": 30,
    "retention_seconds": 120,
    "idempotency_window_seconds": int(WARM_UP_S),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--level", choices=LEVELS, default="journal")
    parser.add_argument(
        "--fault", action="append", choices=sorted(set(ALL) - LEFT_OUT), help="only this one; may be repeated"
    )
    given = parser.parse_args()
    names = given.fault or [name for name in ALL if name not in LEFT_OUT]
    seed = given.seed if given.seed is not None else secrets.randbelow(2**31)
    say(f"soak of {given.minutes:g} minutes, seed {seed}, level {given.level}")
    return asyncio.run(ended_by_signals(soak(given.minutes * 60, seed, given.level, names)))


async def soak(seconds: float, seed: int, level: str, names: Sequence[str]) -> int:
    """0 when every round kept its promises, and the memory of no process grows that lived long enough to tell."""
    rng = random.Random(seed)
    world = World(level, say, SETTINGS)  # type: ignore[arg-type]
    reports: list[Report] = []
    curves = Curves()
    try:
        await world.start()
        fitting = [ALL[name] for name in names if world.level in ALL[name].levels and not ALL[name].spoils]
        faults = [one for one in fitting if not one.missing(world)]
        began = time.monotonic()
        watching = asyncio.create_task(_watch(world, began, curves))
        while time.monotonic() - began < seconds and (not reports or reports[-1].verdict == "kept"):
            at_s = time.monotonic() - began
            last = at_s + FAULT_EVERY_S >= seconds
            curves.fault(at_s)
            report = await run(
                world,
                rng.choice(_striking(faults, at_s)),
                rng.randrange(2**31),
                "deep" if last else "levels",
                lasts_s=FAULT_EVERY_S,
                think_s=THINK_S,
            )
            reports.append(report)
            say(
                f"{(time.monotonic() - began) / 60:6.1f} min  {report.fault:<24} {report.verdict:<11}"
                f" {report.calls:>5} calls {report.unknown:>4} unsure  back in {report.back_s:.1f} s  {report.details}"
            )
            for objection in report.objections[:20]:
                say(f"      {objection}")
        watching.cancel()
        took_s = time.monotonic() - began
    finally:
        await world.close(keep=any(report.verdict != "kept" for report in reports))
    flat = _tell(reports, curves, took_s)
    return 0 if flat and all(report.verdict == "kept" for report in reports) else 1


def _striking(faults: Sequence[Fault], at_s: float) -> Sequence[Fault]:
    """Those that may strike now. All of them always, when only such are asked for as end our processes."""
    calm = [one for one in faults if one.name not in ENDS_OURS]
    return faults if at_s < KILLS_S or not calm else calm


def _tell(reports: Sequence[Report], curves: Curves, took_s: float) -> bool:
    """Print what came of it; whether memory is flat as far as that can be told."""
    kept = sum(report.verdict == "kept" for report in reports)
    say(
        f"{len(reports)} faults in {took_s / 60:.1f} minutes, {kept} kept every promise;"
        f" {sum(report.calls for report in reports):,} calls, {sum(report.events for report in reports):,} events;"
        " the last look walked every row"
    )
    flat = True
    for name, curve in curves.of_process.items():
        growth = curve.growth(curves.faults_s)
        if growth is None:
            say(f"memory of {name:<10} not judged: it has not lived for {LEAST_AGE_S / 60:g} minutes")
            continue
        flat = flat and growth.flat
        say(f"memory of {name:<10} {growth.text}: {'flat' if growth.flat else 'GROWS'}")
    return flat


async def _watch(world: World, began: float, curves: Curves) -> None:
    while True:
        at = time.monotonic() - began
        memory = world.memory_kb()
        for name, kilobytes in memory.items():
            life = world.life_of(name)
            if life is not None and kilobytes:
                curves.note(name, life, at, kilobytes)
        try:
            lag = f"{written(world)[1] - position(world)[1]} events"
        except Exception as error:  # noqa: BLE001 - whatever is down just now
            lag = f"unknown ({type(error).__name__})"
        shown = ", ".join(f"{name} {kilobytes // 1024}" for name, kilobytes in memory.items())
        say(f"{at / 60:6.1f} min  MB: {shown}; ledger behind by {lag}")
        await asyncio.sleep(10)


if __name__ == "__main__":
    sys.exit(main())
