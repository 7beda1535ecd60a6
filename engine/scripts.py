"""Composing the Lua sources into the scripts that Redis runs, and translating its errors back to their files.

`--- @include "lib/state"` pulls a file in, depth-first, once each. A cycle, a missing file, or a file that no entry
includes fails here, at start-up, not in production. Every line is kept, so a line of the script has a file and a
line. The entries are the files at the top of the folder.
"""

from __future__ import annotations

import re
from hashlib import sha1
from pathlib import Path
from typing import Final

from msgspec import Struct

import lua
from engine.errors import HoldfastError

APPLY: Final = "apply"
OPEN: Final = "open"
_DIRECTIVE = "--- @include"
_INCLUDE = re.compile(r'^--- @include "([a-z_/]+)"$')
_ERROR_LINE = re.compile(r"user_script:(\d+)")


class ScriptError(HoldfastError):
    """The Lua sources do not compose: a cycle, a missing file, an orphan or a malformed include."""


class Script(Struct, frozen=True):
    """A composed script."""

    source: str
    sha: str
    """SHA1 of the source, as Redis computes it."""
    lines: tuple[tuple[str, int], ...]
    """File (relative to lua/) and line number behind each line of the source."""

    def translate(self, message: str) -> str:
        """`message` with each `user_script:N` replaced by the file and line it stands for."""

        def place(found: re.Match[str]) -> str:
            number = int(found.group(1))
            if not 1 <= number <= len(self.lines):
                return found.group(0)
            name, line = self.lines[number - 1]
            return f"lua/{name}:{line}"

        return _ERROR_LINE.sub(place, message)


def compose(folder: Path = lua.FOLDER, entry: str = APPLY) -> Script:
    """Compose `entry` and all it includes below `folder`. Raises ScriptError when the sources do not fit together."""
    reachable = {name for path in folder.glob("*.lua") for name, _ in _gather(folder, path.stem)}
    orphans = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.lua")} - reachable
    if orphans:
        raise ScriptError(f"never included: {', '.join(sorted(orphans))}")
    source: list[str] = []
    origin: list[tuple[str, int]] = []
    for name, lines in _gather(folder, entry):
        source += lines
        origin += [(f"{name}.lua", number) for number in range(1, len(lines) + 1)]
    text = "\n".join(source) + "\n"
    digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(source=text, sha=digest, lines=tuple(origin))


def _gather(folder: Path, entry: str) -> list[tuple[str, list[str]]]:
    """The files behind `entry`, each after what it includes, with their lines."""
    gathered: dict[str, list[str]] = {}

    def add(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ScriptError(f"include cycle: {' -> '.join((*path, name))}")
        if name in gathered:
            return
        file = folder / f"{name}.lua"
        if not file.is_file():
            raise ScriptError(f"{path[-1] if path else 'the entry'} needs {name}, but there is no {name}.lua")
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            if line.startswith(_DIRECTIVE):
                found = _INCLUDE.match(line)
                if found is None:
                    raise ScriptError(f"malformed include at {name}.lua:{number}: {line}")
                add(found.group(1), (*path, name))
        gathered[name] = lines

    add(entry, ())
    return list(gathered.items())
