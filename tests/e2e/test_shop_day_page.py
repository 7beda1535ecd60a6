"""docs/shop-day.md is true: its blocks run in order as one shell script, and what stands behind `# ->` is in the answer
of the command above it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.pages import ROOT, run_page, script_of
from tests.runtime.up_process import Up

PAGE = ROOT / "docs" / "shop-day.md"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Up]:
    up = Up(tmp_path / "data").wait_until_ready()
    yield up
    up.stop()


def test_the_page_runs_as_it_stands(service: Up) -> None:
    run_page(PAGE, service, 15)


def test_an_answer_that_is_not_the_expected_one_is_caught() -> None:
    script, checked = script_of("```sh\necho one\n# -> two\n```\n")

    assert checked == 1
    run = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True, env=dict(os.environ))
    assert run.returncode == 1
    assert "expected: two" in run.stdout
