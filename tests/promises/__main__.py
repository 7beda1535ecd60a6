"""`python -m tests.promises NAME`: run the tests that a promise stands on. Without a name: list the promises.

Owns the command line only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.promises import PAGE, ROOT, listing, page_with, promises


def main() -> int:
    """What pytest says; 2 for a promise that nobody made."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--write", action="store_true", help="write the list into docs/promises.md")
    given = parser.parse_args()
    if given.write:
        PAGE.write_text(page_with(listing()), encoding="utf-8")
        return 0
    found = {promise.name: promise for promise in promises()}
    if not given.name:
        for promise in found.values():
            print(f"{promise.name:<32} {promise.says}")
        return 0
    if given.name not in found:
        print(f"there is no promise {given.name!r}: {', '.join(found)}")
        return 2
    promise = found[given.name]
    print(f"{promise.says}\n", flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", "-n", "0", *promise.tests], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
