"""Sixty faults and more against real services: after each, every promise was kept. `make torture` runs longer.

Each level has a service of its own for all its runs; `HOLDFAST_TORTURE_SEED=n` makes every choice again.
"""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.torture.__main__ import Torture
from tests.torture.faults import ALL
from tests.torture.plan import LEVELS
from tests.torture.world import Level

RUNS_A_LEVEL: Final = 16
LEFT_OUT: Final = frozenset(
    # Each of these starts Python processes again, which costs seconds, or spoils its service: `make torture` runs them.
    ["kill-jobs", "stop-jobs", "many-workers", "zombie-flusher", "kill-everything", "kill-worker", "journal-trimmed"]
)
ALWAYS: Final = ("kill-redis", "redis-all-cut", "client-kill")
"""At every level: buyers feel each of them, wherever it strikes."""
ITS_OWN: Final[dict[Level, str]] = {"fsync": "power-cut", "replicated": "replica-promotion", "ledger": "redis-empty"}
"""What each level is there for: nothing that was acknowledged at it may be lost by that."""
BRIEF: Final = (
    "redis-cut-before-send",
    "redis-reply-dropped",
    "postgres-cut-before-send",
    "postgres-reply-dropped",
    "postgres-all-cut",
    "commit-cut-before",
    "commit-cut-after",
    "script-flush",
    "poison",
    "version-skew",
    "counter-drift",
)
"""Over in half a second: they fill up what is left."""


def dealt(seed: int) -> dict[Level, list[str]]:
    """Every fault that is quick enough, once, at one of its levels; then others until each level has enough runs."""
    rng = random.Random(seed)
    hands = {level: [*ALWAYS, *filter(None, [ITS_OWN.get(level)])] for level in LEVELS}
    names = [name for name in sorted(ALL) if name not in LEFT_OUT.union(ALWAYS, ITS_OWN.values())]
    # Those that have the least choice are dealt first.
    for name in sorted(rng.sample(names, len(names)), key=lambda name: len(ALL[name].levels)):
        fitting = [level for level in LEVELS if level in ALL[name].levels]
        hands[min(fitting, key=lambda level: (len(hands[level]), rng.random()))].append(name)
    for hand in hands.values():
        spare = [name for name in BRIEF if name not in hand]
        hand.extend(rng.sample(spare, min(len(spare), max(0, RUNS_A_LEVEL - len(hand)))))
    return hands


@pytest.mark.timeout(900)
@pytest.mark.parametrize("level", LEVELS)
async def test_every_promise_is_kept(level: Level, testrun_uid: str) -> None:
    # The same for all levels, whichever processes run them: together they have every fault.
    seed = int(os.environ.get("HOLDFAST_TORTURE_SEED", str(zlib.crc32(testrun_uid.encode()) >> 1)))
    print(f"HOLDFAST_TORTURE_SEED={seed}")
    hand = dealt(seed)[level]
    torture = Torture(len(hand), seed, [level], hand, jobs=False)
    code = await torture.run()
    broken = [report for report in torture.reports if report.verdict != "kept"]
    assert broken == []
    assert code == 0
    felt = [report for report in torture.reports if report.unknown]
    assert len(felt) >= 3, "hardly a fault was felt: this proves nothing"
    # What cannot be done on this machine is told, counts for nothing, and another fault has its turn.
    assert len(torture.reports) == len(hand)


@pytest.mark.parametrize("seed", range(20))
def test_no_quick_fault_is_forgotten(seed: int) -> None:
    hands = dealt(seed)
    dealt_out = Counter(name for hand in hands.values() for name in hand)
    assert set(dealt_out) == set(ALL) - LEFT_OUT
    assert dealt_out.total() >= 60
    assert all(level in ALL[name].levels for level, hand in hands.items() for name in hand)
    assert all(len(set(hand)) == len(hand) for hand in hands.values())


def test_the_page_lists_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    for fault in ALL.values():
        assert f"| `{fault.name}` | {fault.what} |" in page
