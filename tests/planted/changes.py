"""Changing a copy of the sources on purpose: text for text, and loudly when the text is no longer there.

Owns that rule for everything that plants a fault; never touches the checkout.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct


class Outdated(Exception):
    """The text to be changed is not in the file, or more than once: the fault must be brought up to date."""


class Change(Struct, frozen=True):
    """`old`, which stands in `file` exactly once, becomes `new`."""

    file: str
    old: str
    new: str


def changed(text: str, change: Change) -> str:
    """The text of a file with the change made. Raises Outdated."""
    found = text.count(change.old)
    if found != 1:
        raise Outdated(f"{change.file} holds {found} times, not once: {change.old}")
    return text.replace(change.old, change.new)


def make_changes(folder: Path, changes: Iterable[Change]) -> None:
    """Make all changes to the files below `folder`, which must be a copy. Raises Outdated, FileNotFoundError."""
    for change in changes:
        file = folder / change.file
        file.write_text(changed(file.read_text(encoding="utf-8"), change), encoding="utf-8")
