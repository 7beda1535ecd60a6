"""What earlier runs found, so that one that was ended can go on: a line a fault, by a digest of all it was about.

Owns that file; never tries anything itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.planted.copies import Check
from tests.planted.faults import Fault


class Caught(Struct, frozen=True):
    """A fault and what its checks said; `check.failed` is empty when it was missed."""

    fault: Fault
    check: Check


class _Line(Struct, frozen=True):
    digest: str
    check: Check


def digest_of(fault: Fault, root: Path) -> str:
    """What an outcome is of: the fault, and every byte of the files below `root` that it changes and that check it."""
    files = {change.file for change in fault.changes} | {check.partition("::")[0] for check in fault.checks}
    found = sha256(msgspec.json.encode(fault))
    for name in sorted(files):
        place = root / name
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


class Record:
    """A file of outcomes; without a path nothing is kept. `note` as each fault has been tried."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def known(self, faults: Iterable[Fault], root: Path) -> dict[str, Caught]:
        """Name -> outcome, of those `faults` that are below `root` as they were when it was noted."""
        if self._path is None or not self._path.exists():
            return {}
        # The last line may have been cut off.
        lines = [msgspec.json.decode(line, type=_Line) for line in self._path.read_bytes().split(b"\n")[:-1]]
        checks = {line.digest: line.check for line in lines}
        return {fault.name: Caught(fault, checks[key]) for fault in faults if (key := digest_of(fault, root)) in checks}

    def note(self, caught: Caught, root: Path) -> None:
        """Add an outcome of the sources below `root`."""
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(_Line(digest_of(caught.fault, root), caught.check)) + b"\n")
