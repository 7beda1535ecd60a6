"""Chapter 6: docs/engine.md is true. Its blocks run in order, and what stands behind `# ->` is what the line gives."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import redis

import engine as engine_package
from engine import EngineSettings, Status, limits

GUIDE = Path(__file__).parents[2] / "docs" / "engine.md"
SHOWN = re.compile(r"^(?P<expression>\S.*?)  # -> (?P<value>.+)$")


def blocks() -> list[tuple[int, str]]:
    """(line number, code) of every Python block."""
    text = GUIDE.read_text()
    return [
        (text[: found.start(1)].count("\n"), found.group(1))
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def check(value: Any, shown: str) -> None:
    assert shown in (str(value), repr(value)), f"the guide says {shown}, it is {value!r}"


async def test_every_block_of_the_guide(redis_url: str, redis_client: redis.Redis) -> None:
    names: dict[str, Any] = {"redis_url": redis_url, "_check": check}
    shown = 0
    for number, code in blocks():
        lines = []
        for line in code.splitlines():
            found = SHOWN.match(line)
            shown += found is not None
            lines.append(f"_check({found['expression']}, {found['value']!r})" if found else line)
        source = "\n" * number + "\n".join(lines)
        compiled = compile(source, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        outcome = eval(compiled, names)  # noqa: S307 - our own documentation
        if inspect.isawaitable(outcome):
            await outcome
    assert len(blocks()) >= 10
    assert shown >= 15


def test_the_guide_names_every_status_a_caller_can_get() -> None:
    table = re.findall(r"^\| (`[a-z_`, ]+`) \|", GUIDE.read_text(), re.MULTILINE)
    named = [name for cell in table for name in re.findall(r"`([a-z_]+)`", cell) if name in set(Status)]

    assert named == [status for status in Status if status != Status.DUE_HOLDS], "and in their order"


def test_the_guide_names_every_setting_with_its_default() -> None:
    hidden = {"clock_ms", "script"}
    text = GUIDE.read_text()

    for name in set(EngineSettings.__struct_fields__) - hidden:
        assert f"| `{name}` |" in text, name
    defaults = EngineSettings()
    assert (defaults.retention_ms, defaults.idempotency_window_ms) == (3_600_000, 86_400_000)
    assert f"| `links` | {defaults.links} |" in text
    assert f"| `max_queue` | {defaults.max_queue:,} |" in text


def test_the_guide_names_the_bounds_as_they_are() -> None:
    text = GUIDE.read_text()

    assert (limits.MAX_QUANTITY, limits.MAX_ON_HAND) == (10**9, 10**12)
    for number in (limits.MAX_LINES, limits.MIN_TTL_MS, limits.MAX_TTL_MS, limits.MAX_CONFIRM_RESERVATIONS):
        assert f"{number:,}" in text


def test_the_guide_shows_the_tree_of_errors() -> None:
    errors = [
        name
        for name in engine_package.__all__
        if isinstance(getattr(engine_package, name), type)
        and issubclass(getattr(engine_package, name), engine_package.HoldfastError)
    ]

    assert [name for name in errors if name not in GUIDE.read_text()] == []
