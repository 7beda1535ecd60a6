"""docs/shop-day.md is true: its blocks run in order as one shell script, and what stands behind `# ->` is in the answer
of the command above it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.up_process import Up, clean_environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "shop-day.md"
EXPECTED = "# -> "
PRELUDE = """set -eu
expect() {
  case "$2" in *"$1"*) ;; *) echo "expected: $1"; echo "got: $2"; exit 1 ;; esac
}
"""


def commands_of(block: str) -> Iterator[str]:
    """The commands of a block: a line, with the lines it is continued on, and what it is expected to answer."""
    lines = iter(block.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(lines)
        if command.startswith(EXPECTED) or command.strip():
            yield command


def script_of(page: str) -> tuple[str, int]:
    """The whole page as one script, and how many answers it checks."""
    parts: list[str] = []
    checked = 0
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        for command in commands_of(block):
            if command.startswith(EXPECTED):
                asked = parts.pop()
                parts.append(f'expect {shlex.quote(command.removeprefix(EXPECTED))} "$({asked})"')
                checked += 1
            else:
                parts.append(command)
    return PRELUDE + "\n".join(parts) + "\n", checked


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
