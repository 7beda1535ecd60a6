"""Plant each fault in a copy of the project and see which test catches it, and how soon.

    python -m tests.planted [--only TEXT] [--jobs N] [--committed] [--record FILE] [--write] [--list]

Owns the order of things and the table; never decides what a fault is (faults/) or where it is planted (copies.py).
The checks of a fault must first pass without it. The exit status is 0 only when every fault is caught.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.planted.copies import ROOT, Copy
from tests.planted.faults import FAULTS, Fault
from tests.planted.record import Caught, Record

PAGE: Final = ROOT / "docs" / "planted-bugs.md"
BEGIN, END = "<!-- table: make planted ARGS=--write -->", "<!-- end of table -->"


class BaselineFailed(Exception):
    """The checks fail without any fault: that they fail with one would prove nothing."""


def plant(
    faults: Sequence[Fault], jobs: int, folder: Path, console: Console, *, committed: bool, record: Record | None = None
) -> list[Caught]:
    """Every fault's outcome, in order. Raises BaselineFailed, Outdated, CopyNotUsed.

    `record`: outcomes of earlier runs, which are not tried again; every new one is added.
    """
    kept = record or Record(None)
    copies = [Copy(folder / f"copy{number}", committed=committed) for number in range(jobs)]
    passed: set[str] = set()
    outcomes = kept.known(faults, copies[0].folder)
    errors: list[BaseException] = []
    waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
    for fault in faults:
        if fault.name not in outcomes:
            waiting.put(fault)
    console.print(f"{waiting.qsize()} of {len(faults)} faults to plant", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("planted", total=len(faults), completed=len(outcomes))

        def work(copy: Copy) -> None:
            while not errors:
                try:
                    fault = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    baseline(fault, copy, passed)
                    outcomes[fault.name] = Caught(fault, copy.check(fault.checks, fault.changes))
                    kept.note(outcomes[fault.name], copy.folder)
                except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                    error.add_note(f"fault: {fault.name}")
                    errors.append(error)
                    return
                check = outcomes[fault.name].check
                how = f"caught by {check.failed}" if check.failed else "MISSED"
                console.print(f"{fault.name}: {how}, {check.seconds:.1f} s", markup=False, soft_wrap=True)
                progress.advance(bar)

        threads = [threading.Thread(target=work, args=(copy,), daemon=True) for copy in copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return [outcomes[fault.name] for fault in faults]


def baseline(fault: Fault, copy: Copy, passed: set[str]) -> None:
    """The checks of a fault without it, but for those that have `passed` on a copy already. Raises BaselineFailed."""
    checks = [check for check in fault.checks if check not in passed]
    if not checks:
        return
    found = copy.check(checks)
    if found.failed:
        raise BaselineFailed(f"{found.failed} fails without any fault: {found.said}")
    passed.update(checks)


def table(outcomes: Sequence[Caught]) -> str:
    """What caught what, as Markdown."""
    lines = ["| planted | what somebody thought | caught by | seconds |", "|---|---|---|---|"]
    for one in outcomes:
        test = re.sub(r"\[.*", "", one.check.failed.removeprefix("tests/"), flags=re.DOTALL).replace("::", " `", 1)
        by = f"{test}`" if "`" in test else test or "**nothing**"
        lines.append(f"| {one.fault.name} | {one.fault.why} | {by} | {one.check.seconds:.1f} |")
    return "\n".join(lines)


def write_page(outcomes: Sequence[Caught]) -> None:
    """Put the table into docs/planted-bugs.md."""
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    caught = sum(bool(one.check.failed) for one in outcomes)
    PAGE.write_text(
        f"{head}{BEGIN}\n{caught} of {len(outcomes)} faults are caught.\n\n{table(outcomes)}\n{END}{tail}",
        encoding="utf-8",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when every fault was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("--only", default="", help="plant only faults whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--committed", action="store_true", help="copy what git has, not the working tree")
    parser.add_argument("--write", action="store_true", help="write the table into docs/planted-bugs.md")
    parser.add_argument(
        "--record", type=Path, help="note every outcome here; the same command again goes on from there"
    )
    parser.add_argument("--list", action="store_true", help="only name the faults")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    faults = [fault for fault in FAULTS if chosen.only in fault.name]
    if chosen.list or not faults:
        for fault in faults:
            console.print(f"{fault.name}: {fault.why}", markup=False, soft_wrap=True)
        return 0 if faults else 2
    with tempfile.TemporaryDirectory(prefix="holdfast-planted-") as folder:
        record = Record(chosen.record)
        outcomes = plant(faults, chosen.jobs, Path(folder), console, committed=chosen.committed, record=record)
    console.print("\n" + table(outcomes), markup=False, soft_wrap=True)
    if chosen.write and len(faults) == len(FAULTS):
        write_page(outcomes)
    missed = [one.fault.name for one in outcomes if not one.check.failed]
    console.print(f"\n{len(outcomes) - len(missed)} of {len(outcomes)} caught", markup=False)
    for name in missed:
        console.print(f"missed: {name}", markup=False, style="red")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
