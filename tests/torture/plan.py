"""Which runs there are: each fault as often as the others, at every level in turn, all of it from one seed.

Owns the order of runs and the worlds they share; never runs one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, get_args

from msgspec import Struct

from runtime.settings import Settings
from tests.torture.faults import ALL
from tests.torture.world import Level

LEVELS: Final[tuple[Level, ...]] = tuple(
    level for level in get_args(Level) if level in get_args(Settings.model_fields["durability"].annotation)
)
RUNS_A_WORLD: Final = 30
"""A store that has seen this many faults makes room for a new one."""


class Planned(Struct, frozen=True):
    """One run that is to be done. `number` begins at 1 and is the same whenever the same seed is planned again."""

    number: int
    fault: str
    level: Level
    seed: int


def planned(runs: int, seed: int, levels: Sequence[Level], faults: Sequence[str]) -> list[Planned]:
    """`runs` of them in rounds; in each round every fault has its turn once. Fewer when no fault fits any level."""
    if runs == 1:  # a run that is done again has its seed on the command line
        return [Planned(1, faults[0], levels[0], seed)]
    rng = random.Random(seed)
    plan: list[Planned] = []
    round_number = 0
    while len(plan) < runs and any(ALL[name].levels & set(levels) for name in faults):
        for place, name in enumerate(rng.sample(list(faults), len(faults))):
            fitting = [level for level in levels if level in ALL[name].levels]
            if fitting:
                level = fitting[(place + round_number) % len(fitting)]
                plan.append(Planned(len(plan) + 1, name, level, rng.randrange(2**31)))
        round_number += 1
    return plan[:runs]


def in_worlds(plan: Sequence[Planned]) -> list[list[Planned]]:
    """The runs of each world, in order: the levels take turns, so that a long command that is ended has met them all.

    What spoils its world is the last in it.
    """
    worlds: list[tuple[int, str, list[Planned]]] = []
    for level in dict.fromkeys(one.level for one in plan):
        of_level = [one for one in plan if one.level == level]
        groups = []
        for begin in range(0, len(of_level), RUNS_A_WORLD):
            share = of_level[begin : begin + RUNS_A_WORLD]
            spoilers = [[one] for one in share if ALL[one.fault].spoils]
            calm = [one for one in share if not ALL[one.fault].spoils]
            groups += [calm + spoilers[0], *spoilers[1:]] if spoilers else [calm]
        worlds += [(turn, level, group) for turn, group in enumerate(groups)]
    return [group for _, _, group in sorted(worlds, key=lambda world: world[0])]
