"""Pages of the documentation as programs: their blocks, and how blocks are run.

Owns the reading of Markdown and of `# ->`, which says what the line (Python) or the command above it (sh) gives; never
which page is run against what.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.runtime.up_process import Up, clean_environment

ROOT = Path(__file__).parents[2]
EXPECTED = "# -> "
PRELUDE = """set -eu
expect() {
  case "$2" in *"$1"*) ;; *) echo "expected: $1"; echo "got: $2"; exit 1 ;; esac
}
"""
_SHOWN = re.compile(r"^(?P<expression>\S.*?)  # -> (?P<value>.+)$")
_FENCE = re.compile(r"^\s*```(\w*)\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block. `line`: of the file, where its text begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Everything that is written for readers, history aside."""
    found = [ROOT / "README.md", ROOT / "holdfast_client" / "README.md"]
    return found + sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "examples").rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    language, begun, lines = "", 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif begun:
            found.append(Block(page, begun + 1, language, "\n".join(lines) + "\n"))
            begun = 0
        else:
            language, begun, lines = fence[1], number, []
    assert not begun, f"{page}: the block of line {begun} has no end"
    return found


def commands_of(block: str) -> Iterator[str]:
    """The commands of a block: a line, with the lines it is continued on, and what it is expected to answer."""
    lines = iter(block.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(lines)
        if command.startswith(EXPECTED) or command.strip():
            yield command


def script_of(text: str) -> tuple[str, int]:
    """All sh blocks of a page as one script, and how many answers it checks."""
    parts: list[str] = []
    checked = 0
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for command in commands_of(block):
            if command.startswith(EXPECTED):
                asked = parts.pop()
                parts.append(f'expect {shlex.quote(command.removeprefix(EXPECTED))} "$({asked})"')
                checked += 1
            else:
                parts.append(command)
    return PRELUDE + "\n".join(parts) + "\n", checked


def run_python(page: Path, names: dict[str, Any]) -> int:
    """Run the Python blocks of a page in order, in one namespace; how many values were checked."""
    checked = 0

    def check(value: Any, shown: str) -> None:
        assert shown in {str(value), repr(value)}, f"the page says {shown}, it is {value!r}"

    names["_check"] = check
    with asyncio.Runner() as runner:
        for block in blocks(page):
            if block.language != "python":
                continue
            lines = []
            for line in block.text.splitlines():
                shown = _SHOWN.match(line)
                checked += shown is not None
                lines.append(f"_check({shown['expression']}, {shown['value']!r})" if shown else line)
            # Line numbers of a failure are those of the page.
            source = "\n" * (block.line - 1) + "\n".join(lines)
            code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(_awaited(code, names))
            else:
                exec(code, names)  # noqa: S102 - the page is ours
    return checked


async def _awaited(code: Any, names: dict[str, Any]) -> None:
    await eval(code, names)  # noqa: S307 - the page is ours


def run_page(page: Path, service: Up, least: int) -> None:
    """Run the blocks of a page against `service`, which takes the place of the one it names; AssertionError when
    something is not as the page says, or when it says it fewer than `least` times.
    """
    text = page.read_text(encoding="utf-8")
    assert text.count("URL=http://127.0.0.1:8000\n") == text.count("DATA=var/holdfast\n") == 1
    text = text.replace("URL=http://127.0.0.1:8000\n", f"URL={service.url}\n")
    text = text.replace("DATA=var/holdfast\n", f"DATA={shlex.quote(str(service.data_dir))}\n")
    script, checked = script_of(text)
    assert checked >= least, "the page no longer says what to expect"
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=clean_environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
