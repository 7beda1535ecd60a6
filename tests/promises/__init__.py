"""What Holdfast promises, and the tests that each promise stands on.

Owns the list (promises.toml) and its page; never tests anything itself.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

ROOT: Final = Path(__file__).parents[2]
LIST: Final = Path(__file__).with_name("promises.toml")
PAGE: Final = ROOT / "docs" / "promises.md"
BEGIN, END = "<!-- list: python -m tests.promises --write -->", "<!-- end of list -->"


class Promise(Struct, frozen=True, forbid_unknown_fields=True):
    """One promise of README.md or docs/."""

    name: str
    says: str
    tests: tuple[str, ...]
    """pytest ids: folders, files, `file::test` or `file::test[parameter]`."""
    planted: tuple[str, ...]
    """Names of bugs of tests/planted that break it, each caught."""


class _List(Struct, frozen=True, forbid_unknown_fields=True):
    promise: tuple[Promise, ...]


def promises() -> tuple[Promise, ...]:
    """All of them, in the order of the page."""
    return msgspec.toml.decode(LIST.read_bytes(), type=_List).promise


def exists(test: str) -> bool:
    """True if there is such a test: a folder or file with tests in it, or a function or class of a file."""
    path, *inside = test.partition("[")[0].split("::")
    place = ROOT / path
    if not inside:
        return place.is_file() or any(place.glob("test_*.py"))
    found: list[ast.stmt] = ast.parse(place.read_text(encoding="utf-8")).body if place.is_file() else []
    for name in inside:
        one = next((node for node in found if getattr(node, "name", "") == name), None)
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        found = one.body
    return True


def listing() -> str:
    """The part of the page that is written from the list."""
    parts = []
    for promise in promises():
        tests = "\n".join(f"- [`{test}`](../{test.partition('::')[0]})" for test in promise.tests)
        planted = "; ".join(promise.planted) or "none"
        parts.append(
            f"### {promise.name}\n**{promise.says[0].upper()}{promise.says[1:]}.**\n\n"
            f"`make promise NAME={promise.name}`\n\n{tests}\n\nPlanted against it: {planted}.\n"
        )
    return "\n".join(parts)


def page_with(listed: str) -> str:
    """The page with its list made anew."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{listed}{END}{rest.partition(END)[2]}"
