"""What was run and what came of it: kept as lines of JSON, so that a long command goes on where it was ended.

Owns the file and the table at the end; never runs anything.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.torture.run import Report


class Command(Struct, frozen=True):
    """What somebody asked for: from it, all planned runs follow."""

    runs: int
    seed: int
    levels: tuple[str, ...]
    faults: tuple[str, ...]


class Done(Struct, frozen=True):
    """A planned run and its report; the report is None when no fault could be had in its place."""

    number: int
    report: Report | None


class OtherCommand(Exception):
    """The file is of another command; the message says of which."""


class Record:
    """The runs of one command. Without a path nothing outlives the process."""

    def __init__(self, command: Command, path: Path | None = None) -> None:
        """Reads what is there already.

        Raises OtherCommand, OSError, and msgspec.MsgspecError for a file of something else.
        """
        self._path = path
        self.done: dict[int, Report | None] = {}
        if path is None:
            return
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(command)
            return
        first, *lines = _whole_lines(path)
        found = msgspec.json.decode(first, type=Command)
        if found != command:
            raise OtherCommand(f"{path} is of another command: {found.runs} runs, seed {found.seed}, {found.levels}")
        # What was cut off is done again, and what is written next begins a line of its own.
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        self.done = {one.number: one.report for one in (msgspec.json.decode(line, type=Done) for line in lines)}

    @property
    def reports(self) -> list[Report]:
        """Of the runs that were judged, in the order of the plan."""
        return [report for _, report in sorted(self.done.items()) if report is not None]

    def add(self, number: int, report: Report | None) -> None:
        self.done[number] = report
        self._append(Done(number, report))

    def _append(self, line: Command | Done) -> None:
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")


def seed_of(path: Path) -> int | None:
    """The seed of the command whose record this is; None when there is none yet."""
    return msgspec.json.decode(_whole_lines(path)[0], type=Command).seed if path.exists() else None


def table(reports: Sequence[Report]) -> Iterable[str]:
    """Runs of each fault at each level, how many were not kept, how it was felt, and how long it took to come back."""
    levels = list(dict.fromkeys(report.level for report in reports))
    by_fault: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        by_fault[report.fault].append(report)
    yield (
        f"{'fault':<26}"
        + "".join(f"{level:>11}" for level in levels)
        + "   not kept   unsure   back in, median and most"
    )
    for name, of_fault in sorted(by_fault.items()):
        runs = Counter(report.level for report in of_fault)
        back = sorted(report.back_s for report in of_fault)
        yield (
            f"{name:<26}"
            + "".join(f"{runs[level]:>11}" for level in levels)
            + f"{sum(report.verdict != 'kept' for report in of_fault):>11}"
            + f"{sum(report.unknown for report in of_fault):>9}"
            + f"{back[len(back) // 2]:>10.1f} s {back[-1]:>6.1f} s"
        )


def _whole_lines(path: Path) -> list[bytes]:
    """Without a last one that was cut off in the middle."""
    return [line for line in path.read_bytes().split(b"\n")[:-1] if line]
