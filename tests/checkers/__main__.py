"""Recheck a recorded run: `python -m tests.checkers FILE...` says for each whether an order of its operations exists.

Exit code 1 when one of them has none. `--no-clock` leaves deadlines free, for runs in which clocks jumped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.checkers.history import read_history
from tests.checkers.linearizability import check


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.checkers", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--no-clock", action="store_true")
    chosen = parser.parse_args()
    failed = False
    for path in chosen.files:
        history = read_history(path)
        verdict = check(history, tolerance_ms=None) if chosen.no_clock else check(history)
        failed = failed or not verdict.ok
        told = "linearizable" if verdict.ok else f"NOT linearizable: {verdict.reason}"
        print(
            f"{path}: {verdict.operations} operations ({history.unknown} of unknown outcome), "
            f"{verdict.groups} groups, {verdict.steps} steps: {told}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
