"""What a planted bug is: a change of the sources and the suites that must notice.

Owns that shape; never a fault of its own.
"""

from __future__ import annotations

from msgspec import Struct

from tests.planted.changes import Change


class Fault(Struct, frozen=True):
    """One planted bug."""

    name: str
    why: str
    """What somebody would have thought."""
    changes: tuple[Change, ...]
    checks: tuple[str, ...]
    """Arguments of pytest: files, folders or single tests, of which one must fail."""


def fault(name: str, why: str, changes: list[tuple[str, str, str]], checks: list[str]) -> Fault:
    """A fault from plain tuples of (file, old, new)."""
    return Fault(name, why, tuple(Change(*change) for change in changes), tuple(checks))
