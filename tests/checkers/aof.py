"""The transactions of an append-only file: where each ends, and what a crash at a given byte leaves.

Owns reading RESP and folders of Redis 7 and later (a manifest, a base, increments); never starts a server.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from msgspec import Struct


class Transaction(Struct, frozen=True):
    """One write as the file has it: MULTI to EXEC, or a command alone. `end` is the offset behind its last byte."""

    end: int
    commands: tuple[tuple[bytes, ...], ...]


def increment_file(folder: Path) -> Path:
    """The one increment of `folder`/appendonlydir. ValueError when there is not exactly one."""
    found = list((folder / "appendonlydir").glob("*.incr.aof"))
    if len(found) != 1:
        raise ValueError(f"{len(found)} increments in {folder}")
    return found[0]


def transactions(data: bytes) -> list[Transaction]:
    """Every whole transaction in `data`, in order. ValueError where it is not RESP."""
    found: list[Transaction] = []
    open_ones: list[tuple[bytes, ...]] | None = None
    position = 0
    while position < len(data):
        if data[position : position + 1] == b"#":  # a time stamp, between commands
            position = data.index(b"\r\n", position) + 2
            continue
        command, position = _command(data, position)
        name = command[0].upper()
        if name == b"MULTI":
            open_ones = []
        elif name == b"EXEC":
            found.append(Transaction(position, tuple(open_ones or ())))
            open_ones = None
        elif open_ones is not None:
            open_ones.append(command)
        elif name != b"SELECT":  # it writes nothing
            found.append(Transaction(position, (command,)))
    return found


def crashed_at(folder: Path, offset: int, into: Path) -> None:
    """Make `into` the data folder as a crash left it that wrote only the first `offset` bytes of the increment."""
    shutil.rmtree(into / "appendonlydir", ignore_errors=True)
    shutil.copytree(folder / "appendonlydir", into / "appendonlydir")
    with increment_file(into).open("r+b") as file:
        file.truncate(offset)


def _command(data: bytes, position: int) -> tuple[tuple[bytes, ...], int]:
    count, position = _number(data, position, b"*")
    parts = []
    for _ in range(count):
        length, position = _number(data, position, b"$")
        parts.append(data[position : position + length])
        position += length + 2
    return tuple(parts), position


def _number(data: bytes, position: int, mark: bytes) -> tuple[int, int]:
    end = data.index(b"\r\n", position)
    if data[position : position + 1] != mark:
        raise ValueError(f"no {mark!r} at offset {position}")
    return int(data[position + 1 : end]), end + 2
