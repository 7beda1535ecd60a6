"""The resident memory of each process over a soak, and whether it grows with the faults.

Owns the samples of a process's last life and the rule they are judged by; never measures anything itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from msgspec import Struct, field

WARM_UP_S: Final = 600.0
"""Of a process's own life. What is remembered for a while (the windows of the soak's settings, lost demand by SKU) is
full then, and the garbage collector has come, which the API only calls once 20,000 objects wait (runtime/wiring.py):
seven minutes of faults. Up to then memory rises with each of them, and comes to an end there."""
JUDGED_S: Final = 600.0
"""Behind the warm-up, at least: each half of it then holds about one turn of the collector."""
LEAST_AGE_S: Final = WARM_UP_S + JUDGED_S
MOST_KB_A_FAULT: Final = 64.0
"""Between the halves of what is judged. What a fault makes and throws away (links, pools, tracebacks, requests that
failed) is 80 to 320 kB, measured in the API before its first collection: were a fault's rubbish kept, it would show.
Less than the bound is what the allocators' own pages still spread after the warm-up."""


class Growth(Struct, frozen=True):
    """What came of one process."""

    first_kb: int
    """Median of the first half of what is judged."""
    last_kb: int
    """Median of the second half."""
    faults: int
    """That struck between the middles of the two."""

    @property
    def kb_a_fault(self) -> float:
        return (self.last_kb - self.first_kb) / max(1, self.faults)

    @property
    def flat(self) -> bool:
        return self.kb_a_fault <= MOST_KB_A_FAULT

    @property
    def text(self) -> str:
        return (
            f"{self.first_kb / 1024:6.1f} MB, then {self.last_kb / 1024:6.1f} MB (medians), {self.faults} faults"
            f" between, {self.kb_a_fault:+6.1f} kB a fault"
        )


class Curve(Struct):
    """One process: its last life."""

    pid: int = 0
    samples: list[tuple[float, int]] = field(default_factory=list)
    """(seconds since the soak began, resident kB), from the end of the warm-up on."""

    def growth(self, faults_s: Sequence[float]) -> Growth | None:
        """None when it did not live long enough. `faults_s`: when each fault struck."""
        if not self.samples or self.samples[-1][0] - self.samples[0][0] < JUDGED_S - 60.0:
            return None
        begin, end = self.samples[0][0], self.samples[-1][0]
        middle = (begin + end) / 2
        halves = [kb for at, kb in self.samples if at < middle], [kb for at, kb in self.samples if at >= middle]
        between = (begin + middle) / 2, (middle + end) / 2
        faults = sum(between[0] <= at < between[1] for at in faults_s)
        return Growth(round(median(halves[0])), round(median(halves[1])), faults)


class Curves:
    """Every process of a soak."""

    def __init__(self) -> None:
        self.of_process: dict[str, Curve] = {}
        self.faults_s: list[float] = []

    def fault(self, at_s: float) -> None:
        """One strikes."""
        self.faults_s.append(at_s)

    def note(self, name: str, life: tuple[int, float], at_s: float, resident_kb: int) -> None:
        """A sample. `life`: process id, and how old it is in seconds."""
        pid, age_s = life
        curve = self.of_process.setdefault(name, Curve())
        if curve.pid != pid:
            # What the process before it needed says nothing about this one.
            self.of_process[name] = curve = Curve(pid)
        if age_s >= WARM_UP_S:
            curve.samples.append((at_s, resident_kb))
