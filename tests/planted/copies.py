"""A copy of the project in a folder of its own, in which a fault can be planted and checked.

Owns what is copied, that the checkout stays as it is, and the proof that the checks ran on the copy.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.planted.changes import Change, make_changes

ROOT: Final = Path(__file__).parents[2]
NOT_COPIED: Final = shutil.ignore_patterns(
    ".git", ".venv", "var", "build", "dist", "*.egg-info", ".*_cache", ".hypothesis", "__pycache__", "results"
)
REPORT: Final = "HOLDFAST_PLANTED_REPORT"
MOST_S: Final = 900


class Check(Struct, frozen=True):
    """What came of running checks in a copy."""

    failed: str
    """The first test that failed; empty when all passed."""
    said: str
    """Its last words: the assertion, or how pytest ended."""
    seconds: float
    tests: int


class CopyNotUsed(Exception):
    """The checks did not run on the copy, or not at all: what they say means nothing."""


class Copy:
    """One copy below `folder`. Faults are planted and taken back; in between it is what the checkout was."""

    def __init__(self, folder: Path, *, committed: bool = False) -> None:
        self.folder = folder
        if committed:
            archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(folder, filter="data")
        else:
            shutil.copytree(ROOT, folder, ignore=NOT_COPIED)

    def check(self, checks: Sequence[str], changes: Sequence[Change] = (), *, processes: int = 0) -> Check:
        """Run `checks` with `changes` made, up to the first failure. Raises Outdated, CopyNotUsed."""
        before = {change.file: (self.folder / change.file).read_bytes() for change in changes}
        try:
            make_changes(self.folder, changes)
            return self._run(checks, processes)
        finally:
            for name, content in before.items():
                file = self.folder / name
                file.write_bytes(content)
                # Python recognises a stale compiled file by second and size: a fault of the same size must not stay.
                for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
                    compiled.unlink()

    def _run(self, checks: Sequence[str], processes: int) -> Check:
        report = self.folder / "planted-report.json"
        report.unlink(missing_ok=True)
        # First on the path: an editable install is only asked for what nobody else has.
        environment = {**os.environ, "PYTHONPATH": str(self.folder), REPORT: str(report)}
        options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "tests.planted.witness"]
        parallel = ["-n", str(processes)] if processes else ["-p", "no:xdist"]
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *parallel, *checks],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output = process.communicate(timeout=MOST_S)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise CopyNotUsed(f"the checks did not end within {MOST_S} s: {' '.join(checks)}") from None
        seconds = time.monotonic() - begun
        if process.returncode not in (0, 1, 2) or not report.is_file():
            raise CopyNotUsed(f"pytest ended with {process.returncode}:\n{output[-3000:]}")
        told = json.loads(report.read_text())
        elsewhere = [path for path in told["sources"] if not Path(path).is_relative_to(self.folder)]
        if elsewhere or not told["sources"]:
            raise CopyNotUsed(f"not of the copy: {elsewhere[:3]}")
        if process.returncode != 0 and not told["failed"]:
            raise CopyNotUsed(f"pytest failed without a failed test:\n{output[-3000:]}")
        return Check(told["failed"], told["said"], seconds, told["tests"])
