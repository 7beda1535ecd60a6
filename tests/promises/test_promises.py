"""Every promise names tests that are there, every planted bug breaks a promise, and the page says the same."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.planted.faults import FAULTS
from tests.promises import PAGE, ROOT, Promise, exists, listing, page_with, promises


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise.name)
def test_its_tests_are_there(promise: Promise) -> None:
    assert promise.tests
    assert [test for test in promise.tests if not exists(test)] == []
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", promise.name)


def test_every_planted_bug_breaks_a_promise_and_is_there() -> None:
    named = [name for promise in promises() for name in promise.planted]
    assert sorted(named) == sorted(fault.name for fault in FAULTS)
    assert all(promise.planted for promise in promises())


def test_no_two_have_one_name() -> None:
    assert len({promise.name for promise in promises()}) == len(promises())


@pytest.mark.parametrize(
    "test",
    [
        "tests/promises/test_gone.py",
        "tests/promises/test_promises.py::test_gone",
        "tests/promises/test_promises.py::promises",
        "tests/gone",
    ],
)
def test_what_is_not_there_is_seen(test: str) -> None:
    assert not exists(test)


def test_the_page_is_written_from_the_list() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_with(listing()), "python -m tests.promises --write"


def test_the_readme_names_promises_and_tests_that_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = {promise.name for promise in promises()}
    assert [name for name in re.findall(r"promises\.md#([\w-]+)", text) if name not in names] == []
    assert [test for test in re.findall(r"`(tests/[\w/.:]+)`", text) if not exists(test)] == []


@pytest.mark.timeout(600)
def test_one_command_runs_the_tests_of_a_promise() -> None:
    def said(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.promises", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    listed = said().stdout
    assert all(promise.name in listed for promise in promises())
    gone = said("gone")
    assert gone.returncode == 2
    assert "there is no promise 'gone'" in gone.stdout
    kept = said("one-clock")
    assert kept.returncode == 0, kept.stdout
    assert re.search(r"\d+ passed", kept.stdout)
