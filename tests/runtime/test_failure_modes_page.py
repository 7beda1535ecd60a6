"""docs/failure-modes.md names, for every failure, tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.torture.faults import ALL

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "failure-modes.md").read_text()
ROWS = {
    int(cells[1]): [cell.strip() for cell in cells[2:-1]]
    for cells in (line.split("|") for line in PAGE.splitlines())
    if len(cells) > 2 and cells[1].strip().isdigit()
}


def named_tests(path: Path) -> set[str]:
    """Names of the test functions of a file, those of its classes as well."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def missing_proofs(proofs: str) -> list[str]:
    """The names in a cell that lead nowhere."""
    found = []
    for name in re.findall(r"`([^`]+)`", proofs):
        path, _, test = name.partition("::")
        fault = name.removeprefix("torture: ")
        exists = fault in ALL if fault != name else (ROOT / path).is_file() and test in named_tests(ROOT / path)
        if not exists:
            found.append(name)
    return found


def test_the_page_has_a_row_for_each_of_forty_failures() -> None:
    assert sorted(ROWS) == list(range(1, 41))


@pytest.mark.parametrize("number", sorted(ROWS))
def test_every_failure_says_what_happens_and_names_tests_that_exist(number: int) -> None:
    what_fails, what_happens, what_you_see, proofs = ROWS[number]
    assert what_fails
    assert what_happens
    assert what_you_see
    assert "::test_" in proofs
    assert missing_proofs(proofs) == []


@pytest.mark.parametrize(
    "name", ["tests/worker/test_recovery.py::test_none", "tests/none.py::test_a", "torture: nothing-at-all", "a word"]
)
def test_a_name_that_leads_nowhere_is_found(name: str) -> None:
    assert missing_proofs(f"`{name}`") == [name]
