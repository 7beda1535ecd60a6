"""CPU time that a process has used, to the nanosecond where the kernel keeps it.

Owns reading /proc; never decides what is divided by what.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU, user and kernel, of all threads of `pid` that still live.

    From schedstat (nanoseconds); from stat (10 ms ticks) where the kernel keeps none. Raises OSError when it is gone.
    """
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            return _from_ticks(pid)
    return total / 1e9


def _from_ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def family_cpu_seconds(pid: int) -> float:
    """As `cpu_seconds`, of a process and its living children: Postgres serves each connection with one."""
    total = cpu_seconds(pid)
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        total += sum(cpu_seconds(int(child)) for child in children.read_text().split())
    return total
