"""The rules of `lua/`, checked file by file with the locals of its includes known: `python -m engine.lua_lint`.

Owns what luacheck would say and what only this project asks (headers, includes, writes in one place); never runs Lua
and is never imported by a running service.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from luaparser import ast, astnodes  # type: ignore[import-untyped]
from msgspec import Struct

import lua

MAX_LINE: Final = 120


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GLOBALS: Final = _words(
    "KEYS ARGV redis cmsgpack struct string table math type tonumber tostring pairs ipairs unpack next select"
)
"""What Redis gives a script and we use. Not pcall (it would hide a half-done batch), not cjson (it loses numbers)."""
FORBIDDEN: Final = frozenset({"pcall", "xpcall", "cjson", "loadstring", "setmetatable", "rawset"})
READS: Final = _words(
    "TIME EXISTS GET MGET HGET HMGET HLEN ZCARD ZSCORE ZRANGEBYSCORE ZCOUNT XLEN XRANGE TYPE PTTL STRLEN"
)
WRITERS: Final = frozenset({"lib/store", "open", "fence", "wipe", "restore", "reopen"})
"""The only files whose Redis calls may write."""
HEADERS: Final = {
    "commands": ("KEYS", "Takes", "Statuses", "Answers", "Writes", "Cost"),
    ".": ("KEYS", "ARGV", "Answers", "Cost"),
    "lib": (),
}
"""The sections that open a file, in order, by its folder; before them the purpose."""
_INCLUDE = re.compile(r'^--- @include "([a-z_/]+)"$')
_SECTION = re.compile(r"^-- ([A-Z][A-Za-z]+)  +\S")


class Fault(Struct, frozen=True, order=True):
    """One broken rule."""

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"lua/{self.file}.lua:{self.line}: {self.rule}: {self.message}"


class Binding(Struct):
    """A local name: where it was made and whether anybody reads it."""

    name: str
    file: str
    line: int
    kind: str
    used: bool = False
    used_in: set[str] = set()


class Source(Struct):
    """One file: its text, its includes, and the locals at its top that files including it may use."""

    name: str
    text: str
    includes: dict[str, int]
    tops: dict[str, Binding] = {}


def lint(folder: Path = lua.FOLDER) -> list[Fault]:
    """Every fault of the files below `folder`, sorted by file and line. Raises luaparser's error for broken syntax."""
    return sorted(_Linter(folder).run())


@cache
def _tree(text: str) -> Any:
    """The syntax tree of a file, which nobody changes: parsing is nearly all that a run costs."""
    return ast.parse(text)


class _Linter:
    """One run over a folder."""

    def __init__(self, folder: Path) -> None:
        self._sources: dict[str, Source] = {}
        self._faults: list[Fault] = []
        self._done: set[str] = set()
        for path in sorted(folder.rglob("*.lua")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            text = path.read_text(encoding="utf-8")
            includes = {
                found.group(1): number
                for number, line in enumerate(text.splitlines(), start=1)
                if (found := _INCLUDE.match(line))
            }
            self._sources[name] = Source(name, text, includes)

    def run(self) -> list[Fault]:
        for name in self._sources:
            self._visit(name)
        for source in self._sources.values():
            self._check_text(source)
            self._check_header(source)
            self._check_includes(source)
            for binding in source.tops.values():
                self._check_used(binding)
        for name in self._sources:
            if "/" not in name:
                self._check_one_chunk(name)
        return self._faults

    def _fault(self, file: str, line: int, rule: str, message: str) -> None:
        self._faults.append(Fault(file, line, rule, message))

    def _closure(self, name: str) -> list[str]:
        """`name`'s includes, theirs first, without itself."""
        found: list[str] = []

        def add(one: str) -> None:
            for other in self._sources[one].includes:
                if other in self._sources and other not in found and other != name:
                    add(other)
                    found.append(other)

        add(name)
        return found

    def _visit(self, name: str) -> None:
        if name in self._done:
            return
        self._done.add(name)
        for other in self._sources[name].includes:
            if other in self._sources:
                self._visit(other)
        source = self._sources[name]
        known: dict[str, Binding] = {}
        for other in self._closure(name):
            known.update(self._sources[other].tops)
        _Scopes(source, known, self._faults).chunk()

    def _check_text(self, source: Source) -> None:
        for number, line in enumerate(source.text.splitlines(), start=1):
            if len(line) > MAX_LINE:
                self._fault(source.name, number, "line-length", f"{len(line)} characters, at most {MAX_LINE}")
            if line != line.rstrip() or "\t" in line:
                self._fault(source.name, number, "white-space", "a tab, or space at the end")

    def _check_header(self, source: Source) -> None:
        name = source.name
        lines = source.text.splitlines()
        header = [line for line in lines if not line.startswith("---")]
        end = next((n for n, line in enumerate(header) if not line.startswith("--")), len(header))
        opening = header[0] if end else ""
        needs_name = not name.startswith("lib/")
        if not opening.startswith(f"-- {Path(name).name}: " if needs_name else "-- "):
            self._fault(
                name, 1, "header", "the file opens with its purpose" + (", after its name" if needs_name else "")
            )
        expected = HEADERS.get(str(Path(name).parent), ())
        found = tuple(match.group(1) for line in header[:end] if (match := _SECTION.match(line)))
        if found != expected:
            wanted = " ".join(expected) or "no sections"
            self._fault(name, 1, "header", f"sections must be: {wanted}; found: {' '.join(found) or 'none'}")

    def _check_includes(self, source: Source) -> None:
        for other, line in source.includes.items():
            if other not in self._sources:
                self._fault(source.name, line, "include", f"there is no {other}.lua")
            elif not any(source.name in one.used_in for one in self._sources[other].tops.values()):
                self._fault(source.name, line, "unused-include", f"nothing of {other} is used here")

    def _check_used(self, binding: Binding) -> None:
        if not binding.used and not binding.name.startswith("_"):
            self._fault(binding.file, binding.line, "unused", f"{binding.kind} {binding.name} is never read")

    def _check_one_chunk(self, entry: str) -> None:
        """All files of an entry become one chunk, so their top locals share one scope."""
        seen: dict[str, Binding] = {}
        for name in [*self._closure(entry), entry]:
            for binding in self._sources[name].tops.values():
                other = seen.setdefault(binding.name, binding)
                if other is not binding:
                    self._fault(
                        name, binding.line, "shadowing", f"{binding.name} is also a local at the top of {other.file}"
                    )


class _Scopes:
    """The names of one file: what each one is, who reads it, and what is assigned or called."""

    def __init__(self, source: Source, known: dict[str, Binding], faults: list[Fault]) -> None:
        self._source = source
        self._faults = faults
        self._scopes: list[dict[str, Binding]] = [known, source.tops]
        self._line = 1
        """Of the statement we are in: not every node knows its own."""

    def chunk(self) -> None:
        self._block(_tree(self._source.text).body)

    def _fault(self, node: Any, rule: str, message: str) -> None:
        self._faults.append(Fault(self._source.name, node.line or self._line, rule, message))

    def _find(self, name: str) -> Binding | None:
        return next((scope[name] for scope in reversed(self._scopes) if name in scope), None)

    def _declare(self, node: Any, kind: str) -> None:
        name = node.id
        if name != "_":
            other = self._find(name)
            if other is not None:
                self._fault(node, "shadowing", f"{kind} {name} hides the {other.kind} of {other.file}:{other.line}")
            if name in GLOBALS:
                self._fault(node, "shadowing", f"{kind} {name} hides what Redis gives")
        self._scopes[-1][name] = Binding(name, self._source.name, node.line or self._line, kind, used_in=set())

    def _block(self, block: Any) -> None:
        for statement in block.body:
            self._node(statement)

    def _inside(self, block: Any, names: list[tuple[Any, str]]) -> None:
        """A block in a scope of its own, with some names made for it."""
        self._scopes.append({})
        for node, kind in names:
            if isinstance(node, astnodes.Name):
                self._declare(node, kind)
        self._block(block)
        self._leave()

    def _leave(self) -> None:
        for binding in self._scopes.pop().values():
            if not binding.used and not binding.name.startswith("_"):
                fault = Fault(binding.file, binding.line, "unused", f"{binding.kind} {binding.name} is never read")
                self._faults.append(fault)

    def _read(self, node: Any) -> None:
        binding = self._find(node.id)
        if binding is not None:
            binding.used = True
            binding.used_in.add(self._source.name)
        elif node.id in FORBIDDEN:
            self._fault(node, "forbidden", f"{node.id} is not used here; see the rules in engine/lua_lint.py")
        elif node.id not in GLOBALS:
            self._fault(node, "global", f"{node.id} is no local and nothing that Redis gives")

    def _assign(self, target: Any) -> None:
        if not isinstance(target, astnodes.Name):
            self._node(target)
        elif (binding := self._find(target.id)) is None:
            self._fault(target, "global-assignment", f"{target.id} is no local")
        else:
            # Not a read, but it is a reason to include the file.
            binding.used_in.add(self._source.name)

    def _node(self, node: Any) -> None:  # noqa: PLR0912 - one case a kind of node reads best in one place
        self._line = node.line or self._line
        match node:
            case astnodes.LocalAssign():
                self._all(node.values)
                for target in node.targets:
                    self._declare(target, "local")
            case astnodes.Assign():
                self._all(node.values)
                for target in node.targets:
                    self._assign(target)
            case astnodes.LocalFunction():
                self._declare(node.name, "function")
                self._inside(node.body, [(one, "argument") for one in node.args])
            case astnodes.Function():
                self._assign(node.name)
                self._inside(node.body, [(one, "argument") for one in node.args])
            case astnodes.AnonymousFunction():
                self._inside(node.body, [(one, "argument") for one in node.args])
            case astnodes.Fornum():
                self._all([node.start, node.stop, node.step])
                self._inside(node.body, [(node.target, "loop variable")])
            case astnodes.Forin():
                self._all(node.iter)
                self._inside(node.body, [(one, "loop variable") for one in node.targets])
            case astnodes.Repeat():
                # The condition of a repeat sees the locals of its body.
                self._scopes.append({})
                self._block(node.body)
                self._node(node.test)
                self._leave()
            case astnodes.Block():
                self._inside(node, [])
            case astnodes.Call():
                self._call(node)
                self._all([node.func, *node.args])
            case astnodes.Index():
                self._node(node.value)
                if node.notation != astnodes.IndexNotation.DOT:
                    self._node(node.idx)
            case astnodes.Invoke():
                self._all([node.source, *node.args])
            case astnodes.Field():
                if node.between_brackets:
                    self._node(node.key)
                self._node(node.value)
            case astnodes.Name():
                self._read(node)
            case _:
                self._all(list(_children(node)))

    def _all(self, nodes: list[Any]) -> None:
        for node in nodes:
            if isinstance(node, astnodes.Node):
                self._node(node)

    def _call(self, node: Any) -> None:
        func = node.func
        is_redis = isinstance(func, astnodes.Index) and getattr(func.value, "id", "") == "redis"
        if is_redis and func.idx.id == "pcall":
            self._fault(node, "forbidden", "redis.pcall hides a half-done batch")
        if not (is_redis or getattr(func, "id", "") == "call") or self._source.name in WRITERS:
            return
        verb = node.args[0] if node.args else None
        name = verb.s.decode().upper() if isinstance(verb, astnodes.String) else None
        if name not in READS:
            self._fault(
                node, "writes", f"{name or 'a computed command'} may write; writes stand in {sorted(WRITERS)} only"
            )


def _children(node: Any) -> Iterator[Any]:
    for name, value in vars(node).items():
        if name.startswith("_") or name == "comments":
            continue
        if isinstance(value, list):
            yield from value
        else:
            yield value


def main() -> int:
    """Print every fault; 1 when there is one."""
    faults = lint(Path(sys.argv[1]) if len(sys.argv) > 1 else lua.FOLDER)
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    sys.stdout.write(f"{len(faults)} faults\n" if faults else "lua: no fault found\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
