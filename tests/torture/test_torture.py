"""Sixty faults and more against real services: after each, every promise was kept. `make torture` runs longer.

Each test has a service of its own; the seeds printed make every choice again.
"""

from __future__ import annotations

import random
import secrets
from pathlib import Path

import pytest

from tests.torture.__main__ import Torture
from tests.torture.faults import ALL
from tests.torture.world import Level

SPREAD: dict[Level, int] = {"journal": 24, "fsync": 20, "ledger": 20}
"""Runs a level: 64 in all."""
QUICK = [
    name
    for name, fault in ALL.items()
    # Each of these starts Python processes again, which costs seconds, or needs a new service: two of them are enough
    # here, and `make torture` runs all.
    if not fault.spoils and name not in ("kill-jobs", "stop-jobs", "many-workers", "zombie-flusher", "kill-everything")
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("level", SPREAD)
async def test_every_promise_is_kept(level: Level) -> None:
    seed = secrets.randbelow(2**31)
    torture = Torture(SPREAD[level], seed, [level], _chosen(level, seed))
    code = await torture.run()
    broken = [report for report in torture.reports if report.verdict != "kept"]
    assert broken == []
    assert code == 0
    felt = [report for report in torture.reports if report.unknown]
    assert len(felt) >= 3, "hardly a fault was felt: this proves nothing"
    # What cannot be done on this machine is told, counts for nothing, and another fault has its turn.
    assert len(torture.reports) == SPREAD[level]


def test_the_page_lists_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    for fault in ALL.values():
        assert f"| `{fault.name}` | {fault.what} |" in page


def _chosen(level: Level, seed: int) -> list[str]:
    """Journal and fsync share the faults, so that each of them runs at least once; ledger takes some of all."""
    names = [name for name in sorted(QUICK) if level in ALL[name].levels]
    if level == "ledger":
        return random.Random(seed).sample(names, len(names))
    others = [name for name in sorted(QUICK) if "fsync" in ALL[name].levels]
    of_fsync = others[1::2]
    return of_fsync if level == "fsync" else [name for name in names if name not in of_fsync]
