"""Composing the Lua sources into the one script that Redis runs, and translating its errors back to their files.

`--- @include "lib/stock"` pulls a file in, depth-first, once each. A cycle, a missing file, or a file that nothing
includes fails here, at start-up, not in production. Every line is kept, so a line of the script has a file and a line.
"""

from __future__ import annotations

import re
from hashlib import sha1
from pathlib import Path
from typing import Final

from msgspec import Struct

import lua
from engine.errors import HoldfastError

ENTRY: Final = "apply"
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


def compose(folder: Path = lua.FOLDER, entry: str = ENTRY) -> Script:
    """Compose `entry` and all it includes below `folder`. Raises ScriptError when the sources do not fit together."""
    source: list[str] = []
    origin: list[tuple[str, int]] = []
    done: set[str] = set()

    def add(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ScriptError(f"include cycle: {' -> '.join((*path, name))}")
        if name in done:
            return
        file = folder / f"{name}.lua"
        if not file.is_file():
            raise ScriptError(f"{path[-1] if path else 'the entry'} includes {name}, but there is no {file.name}")
        body: list[tuple[str, int]] = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if "@include" in line:
                found = _INCLUDE.match(line)
                if found is None:
                    raise ScriptError(f"malformed include at {name}.lua:{number}: {line}")
                add(found.group(1), (*path, name))
            body.append((line, number))
        done.add(name)
        # Each file is one block of lines, its includes already above it.
        source.extend(line for line, _ in body)
        origin.extend((f"{name}.lua", number) for _, number in body)

    add(entry, ())
    orphans = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.lua")} - done
    if orphans:
        raise ScriptError(f"never included: {', '.join(sorted(orphans))}")
    text = "\n".join(source) + "\n"
    digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(source=text, sha=digest, lines=tuple(origin))
