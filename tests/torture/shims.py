"""What is preloaded into the servers of a world: a wall clock that can be moved, and notes of what is on the disk.

Owns the building of both and the files they share with us; never moves the clock of this process or of the machine.
"""

from __future__ import annotations

import mmap
import os
import shlex
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent
NOTES_BYTES: Final = 4096 * 16


class NoCompiler(Exception):
    """There is no C compiler here, or it cannot build a shim."""


class Shims:
    """The clock and the notes of every program started by `wrapper`."""

    def __init__(self, folder: Path) -> None:
        """Raises NoCompiler."""
        folder.mkdir(parents=True, exist_ok=True)
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise NoCompiler("no C compiler (cc) for what is preloaded into Redis")
        self._folder = folder
        self._libraries = [_built(compiler, SOURCES / name, folder) for name in ("clock_shim.c", "sync_shim.c")]
        self._clock = folder / "clock_offset"
        self._clock.write_bytes(bytes(8))
        self._synced = folder / "synced"
        self._synced.write_bytes(bytes(NOTES_BYTES))
        with self._clock.open("r+b") as opened:
            self._offset = mmap.mmap(opened.fileno(), 8)
        with self._synced.open("r+b") as opened:
            self._notes = mmap.mmap(opened.fileno(), NOTES_BYTES)

    @property
    def offset_ms(self) -> int:
        """What the programs' wall clock is ahead of the machine's."""
        return int.from_bytes(self._offset[:8], "little", signed=True)

    @offset_ms.setter
    def offset_ms(self, offset: int) -> None:
        self._offset[:8] = offset.to_bytes(8, "little", signed=True)

    def synced_bytes(self, path: Path) -> int:
        """How many bytes from the start of a file were told to be on the disk; 0 if it was never synced."""
        inode = path.stat().st_ino
        return next((size for found, size in struct.iter_unpack("=QQ", self._notes[:]) if found == inode), 0)

    def wrapper(self, program: Path) -> Path:
        """A program that is `program` with both preloaded."""
        path = self._folder / f"{program.name}-with-shims"
        libraries = ":".join(str(library) for library in self._libraries)
        path.write_text(
            "#!/bin/sh\n"
            f"LD_PRELOAD={shlex.quote(libraries)} TORTURE_CLOCK={shlex.quote(str(self._clock))}"
            f' TORTURE_SYNCED={shlex.quote(str(self._synced))} exec {shlex.quote(str(program))} "$@"\n'
        )
        os.chmod(path, 0o700)
        return path


def _built(compiler: str, source: Path, folder: Path) -> Path:
    library = folder / f"{source.stem}.so"
    built = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise NoCompiler(f"{source.name} cannot be built: {built.stderr.strip()[-200:]}")
    return library
