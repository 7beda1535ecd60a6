"""The header of each verb's Lua file, its body and the Python side, held against each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from luaparser import ast, astnodes

import lua
from engine import commands
from engine.commands import Command
from engine.results import Record, Status

COMMANDS = sorted((lua.FOLDER / "commands").glob("*.lua"))
SECTION = re.compile(r"^-- ([A-Z][A-Za-z]+) +(\S.*)$")
INTERNAL = {Status.DUE_HOLDS}
"""Never reaches a caller: the engine ends the due holds and asks again."""


def header(path: Path) -> dict[str, str]:
    """Section name -> its text, continuation lines joined."""
    sections: dict[str, str] = {}
    name = "Purpose"
    for line in path.read_text().splitlines():
        if not line.startswith("--") or line.startswith("---"):
            break
        found = SECTION.match(line)
        if found:
            name, text = found.groups()
        else:
            text = line.removeprefix("--").strip()
        sections[name] = f"{sections.get(name, '')} {text}".strip()
    return sections


def listed(text: str) -> list[str]:
    """`a, b (x, y), c [z, w]` -> a, b, c: what stands in brackets explains the name before it."""
    flat = re.sub(r"\([^()]*\)|\[[^\[\]]*(\[[^\[\]]*\][^\[\]]*)*\]", "", text)
    return [part.split()[0] for part in flat.split(",") if part.strip()]


# -- what the body can answer, found without running it


class Sources:
    """Top-level functions and constants of every file, so that an answer can be followed to its status."""

    def __init__(self, folder: Path) -> None:
        self.functions: dict[str, Any] = {}
        self.constants: dict[str, set[str]] = {}
        for path in folder.rglob("*.lua"):
            for statement in ast.parse(path.read_text()).body.body:
                if isinstance(statement, astnodes.LocalFunction):
                    self.functions[statement.name.id] = statement.body
                elif isinstance(statement, astnodes.LocalAssign):
                    for target, value in zip(statement.targets, statement.values, strict=False):
                        self.constants[target.id] = set(words(value))

    def statuses_from(self, node: Any, seen: set[str] | None = None) -> set[str]:
        """Statuses that stand in `node` or in anything it names."""
        seen = set() if seen is None else seen
        found = set(words(node))
        for one in ast.walk(node):
            if isinstance(one, astnodes.Name) and one.id not in seen:
                seen.add(one.id)
                found |= self.constants.get(one.id, set())
                if one.id in self.functions:
                    found |= self.statuses_from(self.functions[one.id], seen)
        return found


@cache
def sources_of(folder: Path) -> Sources:
    return Sources(folder)


def words(node: Any) -> Iterator[str]:
    """Every string of `node` that is a status."""
    for one in ast.walk(node):
        if isinstance(one, astnodes.String):
            text = one.s.decode("latin-1")
            if text in set(Status):
                yield text


def statuses_of_body(path: Path, folder: Path = lua.FOLDER) -> set[str]:
    sources = sources_of(folder)
    tree = ast.parse(path.read_text())
    own = {s.name.id for s in tree.body.body if isinstance(s, astnodes.LocalFunction)}
    assert path.stem in own, f"{path.name} must define the function {path.stem}"
    return sources.statuses_from(sources.functions[path.stem])


def struct_of(path: Path) -> type[Any]:
    return next(one for one in get_args(Command) if msgspec.inspect.type_info(one).tag == path.stem)


def check(path: Path, folder: Path = lua.FOLDER) -> None:
    """Everything the header says, against the body and the struct."""
    sections = header(path)
    assert list(sections) == ["Purpose", "KEYS", "Takes", "Statuses", "Answers", "Writes", "Cost"]
    named = [name.strip() for name in sections["Statuses"].split(",")]
    assert set(named) == statuses_of_body(path, folder), "statuses of header and body differ"
    order = list(Status)
    visible = [Status(name) for name in named if name not in INTERNAL]
    assert visible == sorted(visible, key=order.index), "header and Status disagree about precedence"
    assert listed(sections["Takes"]) == list(struct_of(path).__struct_fields__), "fields taken and struct differ"
    for name in re.findall(r"(?:^|; )([a-z_, ]+):", sections["Answers"]):
        assert set(name.split(", ")) <= set(named), f"Answers names {name}, Statuses does not"


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_header_body_and_struct_agree(path: Path) -> None:
    check(path)


def test_every_file_has_a_struct_and_every_struct_a_file() -> None:
    tags = [msgspec.inspect.type_info(one).tag for one in get_args(Command)]

    assert sorted(tags) == [path.stem for path in COMMANDS]


def test_apply_knows_every_verb() -> None:
    text = (lua.FOLDER / "apply.lua").read_text()
    table = re.search(r"local verbs = \{(.*?)\}", text, re.DOTALL)

    assert table is not None
    pairs = re.findall(r"(\w+) = (\w+)", table.group(1))
    assert sorted(pairs) == [(path.stem, path.stem) for path in COMMANDS]


def test_every_status_is_answered_by_some_verb() -> None:
    answered = {name for path in COMMANDS for name in header(path)["Statuses"].split(", ")}

    assert answered == set(Status)


def test_limits_are_the_same_on_both_sides() -> None:
    from engine import limits

    text = (lua.FOLDER / "lib" / "state.lua").read_text()
    numbers = dict(re.findall(r"local (MAX_\w+) = (\d+)", text))
    lowest, highest = re.findall(r"MIN_TTL_MS, MAX_TTL_MS = (\d+), (\d+)", text)[0]

    assert numbers, "no limit found: has the form of lib/state.lua changed?"
    for name, value in {**numbers, "MIN_TTL_MS": lowest, "MAX_TTL_MS": highest}.items():
        assert int(value) == getattr(limits, name), name


def test_the_fields_of_a_record_are_the_same_on_both_sides() -> None:
    text = (lua.FOLDER / "lib" / "records.lua").read_text()
    names = re.search(r"^local (STATUS[A-Z_, ]+) =", text, re.MULTILINE)

    assert names is not None
    python = [name.removesuffix("_ms").removesuffix("_id").upper() for name in Record.__struct_fields__]
    assert names.group(1).split(", ") == python[:-1], "all but the details, which Lua never looks at"


# -- the check itself can fail

BREAKAGES = {
    "a status the body does not answer": ("-- Statuses  malformed,", "-- Statuses  malformed, stock_limit,"),
    "a status the header does not name": (
        "malformed, unknown_reservation, inconsistent, ok",
        "malformed, inconsistent, ok",
    ),
    "another precedence": (
        "malformed, unknown_reservation, inconsistent,",
        "unknown_reservation, malformed, inconsistent,",
    ),
    "a field the struct does not have": ("base, created_ms, owner", "base, created_ms, owner, actor"),
    "fields in another order": ("base, created_ms, owner", "created_ms, base, owner"),
    "a section that is missing": ("-- Cost      O(1)\n", ""),
    "an answer for a status that is not": ("-- Answers   ok:", "-- Answers   fine:"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_contract_that_is_broken_is_caught(breakage: str, tmp_path: Path) -> None:
    path = tmp_path / "read.lua"
    text = (lua.FOLDER / "commands" / "read.lua").read_text()
    old, new = BREAKAGES[breakage]
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))

    with pytest.raises(AssertionError):
        check(path)


def test_a_body_that_answers_more_is_caught(tmp_path: Path) -> None:
    for source in lua.FOLDER.rglob("*.lua"):
        copy = tmp_path / source.relative_to(lua.FOLDER)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(source.read_text())
    path = tmp_path / "commands" / "read.lua"
    path.write_text(path.read_text().replace("return answer(MALFORMED)", "return answer(KEY_REUSED)"))

    with pytest.raises(AssertionError):
        check(path, tmp_path)


def test_commands_module_exports_what_the_union_holds() -> None:
    structs = {
        name for name, one in vars(commands).items() if isinstance(one, type) and issubclass(one, msgspec.Struct)
    }

    assert structs - {"Struct"} == {one.__name__ for one in get_args(Command)}
