"""engine/scripts.py: composing the sources, refusing what does not fit together, and naming the place of an error."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path

import pytest
import redis

import lua
from engine.scripts import OPEN, ScriptError, compose


def write(folder: Path, **files: str) -> Path:
    """`lib__a="..."` becomes lib/a.lua."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.lua"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_includes_come_first_depth_first_and_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        apply='--- @include "lib/b"\n--- @include "lib/c"\nreturn c\n',
        lib__b='--- @include "lib/a"\nlocal b = a\n',
        lib__c='--- @include "lib/a"\n--- @include "lib/b"\nlocal c = b\n',
        lib__a="local a = 1\n",
    )

    script = compose(tmp_path)

    code = [line for line in script.source.splitlines() if not line.startswith("---")]
    assert code == ["local a = 1", "local b = a", "local c = b", "return c"]
    assert script.sha == sha1(script.source.encode(), usedforsecurity=False).hexdigest()


def test_every_line_has_its_place(tmp_path: Path) -> None:
    write(tmp_path, apply='-- one\n--- @include "lib/a"\nreturn a\n', lib__a="-- first\nlocal a = 1\n")

    script = compose(tmp_path)

    assert len(script.lines) == len(script.source.splitlines())
    for place, line in zip(script.lines, script.source.splitlines(), strict=True):
        name, number = place
        assert (tmp_path / name).read_text().splitlines()[number - 1] == line


def test_a_cycle(tmp_path: Path) -> None:
    write(tmp_path, apply='--- @include "lib/a"\n', lib__a='--- @include "lib/b"\n', lib__b='--- @include "lib/a"\n')

    with pytest.raises(ScriptError, match=r"cycle: .*lib/a -> lib/b -> lib/a"):
        compose(tmp_path)


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    write(tmp_path, apply='--- @include "apply"\n')

    with pytest.raises(ScriptError, match="cycle"):
        compose(tmp_path)


def test_a_missing_file_is_named_with_who_wants_it(tmp_path: Path) -> None:
    write(tmp_path, apply='--- @include "lib/a"\n', lib__a='--- @include "lib/gone"\n')

    with pytest.raises(ScriptError, match=r"lib/a.*lib/gone|lib/gone.*lib/a"):
        compose(tmp_path)


def test_no_entry(tmp_path: Path) -> None:
    with pytest.raises(ScriptError):
        compose(tmp_path)


def test_an_orphan_is_named(tmp_path: Path) -> None:
    write(tmp_path, apply="return 1\n", lib__lost="local lost = 1\n", commands__lost_too="local x = 1\n")

    with pytest.raises(ScriptError, match="commands/lost_too, lib/lost"):
        compose(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "--- @include lib/a",
        "--- @include 'lib/a'",
        '--- @include "lib/a" -- why',
        ' --- @include "lib/a"',
        '--- @include "../a"',
        '--- @include "lib/A"',
        '--- @include ""',
    ],
)
def test_a_malformed_include_is_not_passed_over(tmp_path: Path, line: str) -> None:
    write(tmp_path, apply=f"-- one\n{line}\n", lib__a="local a = 1\n")

    with pytest.raises(ScriptError):
        compose(tmp_path)


def test_an_error_names_its_file_and_line(tmp_path: Path, redis_client: redis.Redis) -> None:
    write(
        tmp_path, apply='--- @include "lib/a"\n--\nreturn f()\n', lib__a="local function f()\n  return nil + 1\nend\n"
    )
    script = compose(tmp_path)

    with pytest.raises(redis.ResponseError) as failed:
        redis_client.eval(script.source, 0)

    assert "lua/lib/a.lua:2" in script.translate(str(failed.value))


def test_what_is_no_line_of_the_script_is_left_alone() -> None:
    script = compose()

    assert script.translate("ERR user_script:999999: x") == "ERR user_script:999999: x"
    assert script.translate("ERR nothing here") == "ERR nothing here"
    assert script.translate("user_script:1: a, user_script:2: b").count("lua/") == 2


@pytest.mark.parametrize("entry", ["apply", OPEN])
def test_the_scripts_load(redis_client: redis.Redis, entry: str) -> None:
    script = compose(entry=entry)

    assert redis_client.script_load(script.source) == script.sha
    assert {name for name, _ in script.lines} <= {
        path.relative_to(lua.FOLDER).as_posix() for path in lua.FOLDER.rglob("*.lua")
    }
