"""`python -m tests.torture.soak`: one service under mixed load for a long time, a fault every 20 seconds.

Owns what is watched over time: the memory of each process, the lag of the ledger, and zero drift at the end. What one
fault may do is judged as in any other run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

from tests.torture.__main__ import ended_by_signals, say
from tests.torture.evidence import position, written
from tests.torture.faults import ALL
from tests.torture.plan import LEVELS
from tests.torture.run import Report, run
from tests.torture.world import World

FAULT_EVERY_S = 20.0
THINK_S = 0.1
MOST_GROWTH_KB_A_MINUTE = 512.0
"""Bound of the slope of a process's resident memory, by least squares over all samples of its last life."""
WARM_UP_S = 180.0
"""Of each process's own life: until pools, caches and the windows below are full."""
LEAST_S = 420.0
"""A soak shorter than this says nothing about memory."""

Samples = dict[str, list[tuple[float, int]]]
"""Of each process: (seconds since the beginning, resident kB)."""

SETTINGS = {
    # What is remembered for hours by default would still be growing when the soak ends.
    "journal_keep_seconds": 30,
    "retention_seconds": 60,
    "idempotency_window_seconds": 60,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--level", choices=LEVELS, default="journal")
    parser.add_argument("--fault", action="append", choices=sorted(ALL), help="only this one; may be repeated")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(2**31)
    say(f"soak of {given.minutes:g} minutes, seed {seed}, level {given.level}")
    return asyncio.run(ended_by_signals(soak(given.minutes * 60, seed, given.level, given.fault or list(ALL))))


async def soak(seconds: float, seed: int, level: str, names: Sequence[str]) -> int:
    """0 when every round kept its promises and memory is flat."""
    rng = random.Random(seed)
    world = World(level, say, SETTINGS)  # type: ignore[arg-type]
    reports: list[Report] = []
    samples: Samples = defaultdict(list)
    try:
        await world.start()
        fitting = [ALL[name] for name in names if world.level in ALL[name].levels and not ALL[name].spoils]
        faults = [one for one in fitting if not one.missing(world)]
        began = time.monotonic()
        watching = asyncio.create_task(_watch(world, began, samples))
        while time.monotonic() - began < seconds and (not reports or reports[-1].verdict == "kept"):
            last = time.monotonic() - began + FAULT_EVERY_S >= seconds
            report = await run(
                world,
                rng.choice(faults),
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
    grown = _growth(samples)
    _tell(reports, grown, took_s, samples)
    flat = took_s < LEAST_S or all(slope <= MOST_GROWTH_KB_A_MINUTE for slope in grown.values())
    return 0 if flat and all(report.verdict == "kept" for report in reports) else 1


def _tell(reports: Sequence[Report], grown: dict[str, float], took_s: float, samples: Samples) -> None:
    kept = sum(report.verdict == "kept" for report in reports)
    say(
        f"{len(reports)} faults in {took_s / 60:.1f} minutes, {kept} kept every promise;"
        f" {sum(report.calls for report in reports):,} calls, {sum(report.events for report in reports):,} events;"
        " the last look walked every row"
    )
    if took_s < LEAST_S:
        say(f"memory: not judged, that takes at least {LEAST_S / 60:g} minutes")
        return
    for name, slope in grown.items():
        verdict = "flat" if slope <= MOST_GROWTH_KB_A_MINUTE else "GROWS"
        first, last = (at[1] // 1024 for at in (samples[name][0], samples[name][-1]))
        say(f"memory of {name:<10} {first:>5} MB, at the end {last:>5} MB, {slope:+8.0f} kB a minute: {verdict}")


async def _watch(world: World, began: float, samples: Samples) -> None:
    lives: dict[str, int] = {}
    while True:
        at = time.monotonic() - began
        memory = world.memory_kb()
        for name, kilobytes in memory.items():
            life = world.life_of(name, WARM_UP_S)
            if life and lives.setdefault(name, life) != life:
                # Another process: what the one before it needed says nothing about this one.
                lives[name] = life
                samples[name].clear()
            if life and kilobytes:
                samples[name].append((at, kilobytes))
        try:
            lag = f"{written(world)[1] - position(world)[1]} events"
        except Exception as error:  # noqa: BLE001 - whatever is down just now
            lag = f"unknown ({type(error).__name__})"
        shown = ", ".join(f"{name} {kilobytes // 1024}" for name, kilobytes in memory.items())
        say(f"{at / 60:6.1f} min  MB: {shown}; ledger behind by {lag}")
        await asyncio.sleep(10)


def _growth(samples: Samples) -> dict[str, float]:
    """kB a minute of each process that there are enough samples of."""
    found = {}
    for name, points in samples.items():
        if len(points) >= 10:
            found[name] = slope(points) * 60
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that fits `points` best, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


if __name__ == "__main__":
    sys.exit(main())
