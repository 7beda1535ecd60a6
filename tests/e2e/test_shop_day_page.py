"""docs/shop-day.md is true: its blocks run in order as one shell script, and what stands behind `# ->` is in the answer
of the command above it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.pages import ROOT, script_of
from tests.runtime.up_process import Up, clean_environment

PAGE = ROOT / "docs" / "shop-day.md"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Up]:
    up = Up(tmp_path / "data").wait_until_ready()
    yield up
    up.stop()


def test_the_page_runs_as_it_stands(service: Up) -> None:
    page = PAGE.read_text()
    assert page.count("URL=http://127.0.0.1:8000\n") == page.count("DATA=var/holdfast\n") == 1
    page = page.replace("URL=http://127.0.0.1:8000\n", f"URL={service.url}\n")
    page = page.replace("DATA=var/holdfast\n", f"DATA={shlex.quote(str(service.data_dir))}\n")
    script, checked = script_of(page)
    assert checked >= 15, "the page no longer says what to expect"

    run = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        check=False,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"


def test_an_answer_that_is_not_the_expected_one_is_caught() -> None:
    script, checked = script_of("```sh\necho one\n# -> two\n```\n")

    assert checked == 1
    run = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True, env=dict(os.environ))
    assert run.returncode == 1
    assert "expected: two" in run.stdout
