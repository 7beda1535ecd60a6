"""Runs every benchmark and prints one table.

    python -m bench [--quick] [--rounds N] [--only NAME] [--results FILE] [--docs]

Writes bench/results/latest.json (or FILE); with --docs also the table in docs/performance.md. Caveat: whatever else
the machine does meanwhile is in the numbers; how much that was is printed with them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from rich.console import Console

from bench import wrk
from bench.figures import Figure, markdown, print_table
from bench.rounds import Scale

NEED_WRK: Final = ("http_hot_sku", "latency_half_peak")
BENCHMARKS: Final = (
    "http_reserve",
    "http_hot_sku",
    "redis_cpu",
    "engine_inprocess",
    "latency_half_peak",
    "durability",
    "flusher",
    "million_holds",
    "memory_per_hold",
    "history",
    "low_stock",
    "alert_delay",
    "bulk_files",
    "reconciliation",
    "rebuild",
    "event_readers",
    "console",
)

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "bench" / "results" / "latest.json"
DOCUMENT: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- the table begins: written by python -m bench --docs -->"
END: Final = "<!-- the table ends -->"


class Machine(Struct, frozen=True):
    """What kind of machine it was, and how much of it others used meanwhile."""

    processor: str
    cores: int
    memory_gb: int
    system: str
    python: str
    used_by_others: float
    """Share of the machine's CPU time (0 to 1) that went to programs which are not the benchmark's."""


class Results(Struct, frozen=True):
    """One run of the benchmarks."""

    at: str
    quick: bool
    rounds: int
    machine: Machine
    figures: list[Figure]


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description="Every benchmark, one table")
    parser.add_argument("--quick", action="store_true", help="a smoke test, the numbers mean nothing")
    parser.add_argument("--rounds", type=int, default=3, help="how often ours and the rival take turns (default 3)")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="only this one; may be repeated")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are written as JSON")
    chosen = parser.parse_args()
    scale = Scale(rounds=1 if chosen.quick else chosen.rounds, quick=chosen.quick)
    console = Console(stderr=True)
    figures: list[Figure] = []
    busy, own = _busy_seconds(), _own_seconds()
    began = time.perf_counter()
    for name in chosen.only or BENCHMARKS:
        if name in NEED_WRK and not wrk.is_there():
            console.print(f"{name} left out: {wrk.MISSING}", highlight=False)
            continue
        started = time.perf_counter()
        console.print(f"{name} ...", end=" ", highlight=False)
        figures += importlib.import_module(f"bench.{name}").measure(scale)
        console.print(f"{time.perf_counter() - started:.0f} s", highlight=False)
    took = time.perf_counter() - began
    others = (_busy_seconds() - busy) - (_own_seconds() - own)
    machine = _machine(max(0.0, others / (took * (os.cpu_count() or 1))))
    results = Results(datetime.now(UTC).isoformat(timespec="seconds"), scale.quick, scale.rounds, machine, figures)
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    chosen.results.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    print_table(figures, _title(results))
    print(f"\n{markdown(figures)}")
    if chosen.docs:
        _write_document(results)
    return 0


def _title(results: Results) -> str:
    machine = results.machine
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gb} GB, {machine.system}, "
        f"Python {machine.python}; medians of {results.rounds}; "
        f"other programs used {machine.used_by_others:.0%} of the machine meanwhile"
    )


def _write_document(results: Results) -> None:
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = f"{BEGIN}\n{_title(results)}.\n\n{markdown(results.figures)}\n{END}"
    DOCUMENT.write_text(f"{before}{table}{after}")


def _machine(used_by_others: float) -> Machine:
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    kilobytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return Machine(
        processor=processor,
        cores=os.cpu_count() or 1,
        memory_gb=round(kilobytes / 1024**2),
        system=f"Linux {'.'.join(platform.release().split('.')[:2])}",
        python=platform.python_version(),
        used_by_others=used_by_others,
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _busy_seconds() -> float:
    """CPU time of the whole machine that was not idle; on a virtual one also what its host gave to others."""
    user, nice, system, _idle, _iowait, irq, soft_irq, stolen, *_ = map(int, _lines("/proc/stat")[0].split()[1:])
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """CPU time of this process and of every child that has ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    raise SystemExit(main())
