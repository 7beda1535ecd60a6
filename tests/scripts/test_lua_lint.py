"""engine/lua_lint.py: the sources are clean, and every rule catches a fault planted in a copy of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lua
from engine.lua_lint import lint


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "lua"
    shutil.copytree(lua.FOLDER, folder, ignore=shutil.ignore_patterns("*.py*", "__pycache__"))
    return folder


def test_the_sources_have_no_fault() -> None:
    assert [str(fault) for fault in lint()] == []


# rule -> file, and text put behind its last line (or, with ->, replaced in it)
PLANTED = {
    "global": ("commands/read", "local function f() return nonsense end\nf()"),
    "global-assignment": ("commands/read", "counter = 1"),
    "global-assignment of a function": ("commands/read", "function count() end"),
    "shadowing": ("commands/read", "local function _f(x) local x = x return x end"),
    "shadowing of an include": ("commands/read", "local function _f(stock) return stock end"),
    "shadowing in the same scope": ("commands/read", "local _a = 1\nlocal _a = 2\nreturn _a"),
    "shadowing of another file in the chunk": ("commands/read", "local compare = 1\nreturn compare"),
    "shadowing of what Redis gives": ("commands/read", "local function _f(redis) return redis end"),
    "unused": ("commands/read", "do local nobody = 1 end"),
    "unused argument": ("commands/read", "local function _f(nobody) end"),
    "unused loop variable": ("commands/read", "for i = 1, 2 do end"),
    "unused top": ("commands/read", "local nobody = 1"),
    "unused function": ("commands/read", "local function nobody() end"),
    "unused, only assigned": ("commands/read", "do local nobody\nnobody = 1 end"),
    "line-length": ("commands/read", "-- " + "x" * 118),
    "white-space": ("commands/read", "\treturn"),
    "forbidden": ("commands/read", "pcall(print)"),
    "forbidden redis.pcall": ("commands/read", "redis.pcall('GET', META)"),
    "forbidden cjson": ("commands/read", "cjson.encode({})"),
    "writes": ("commands/read", "call('HSET', STOCK, 'A', '1')"),
    "writes through redis.call": ("commands/read", "redis.call('DEL', STOCK)"),
    "writes by a computed name": ("commands/read", "call(RECORD_PREFIX, STOCK)"),
    "header": ("commands/read", "-- read: -> -- reading: "),
    "header without a section": ("commands/read", "-- Cost      O(1) -> -- It costs little"),
    "include": ("commands/read", '--- @include "lib/nowhere"'),
    "unused-include": ("lib/clock", '--- @include "lib/results"'),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_every_rule_catches_a_planted_fault(planted: str, copy: Path) -> None:
    name, text = PLANTED[planted]
    path = copy / f"{name}.lua"
    source = path.read_text()
    if " -> " in text:
        old, new = text.split(" -> ")
        assert source.count(old) == 1
        path.write_text(source.replace(old, new))
    else:
        path.write_text(source + text + "\n")

    faults = lint(copy)

    rule = planted.split(",", maxsplit=1)[0].split(maxsplit=1)[0]
    assert [fault for fault in faults if fault.rule == rule and fault.file == name], [str(fault) for fault in faults]


def test_the_line_is_the_right_one(copy: Path) -> None:
    path = copy / "commands" / "read.lua"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "", "counter = 1", ""]))

    assert [str(fault) for fault in lint(copy)] == [
        f"lua/commands/read.lua:{len(lines) + 2}: global-assignment: counter is no local"
    ]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.lua_lint", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_says_so_and_ends_with_zero() -> None:
    done = run()

    assert (done.returncode, done.stdout) == (0, "lua: no fault found\n")


def test_the_command_names_the_place_and_ends_with_one(copy: Path) -> None:
    path = copy / "lib" / "clock.lua"
    path.write_text(path.read_text() + "counter = 1\n")

    done = run(str(copy))

    assert done.returncode == 1
    assert "lua/lib/clock.lua:" in done.stdout
    assert done.stdout.endswith("1 faults\n")
