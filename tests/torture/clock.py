"""The wall clock of a server, moved at will: builds the shim of clock_shim.c and holds the offset that it reads.

Owns both files; never moves the clock of this process or of the machine.
"""

from __future__ import annotations

import mmap
import os
import shlex
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shim.c")


class NoCompiler(Exception):
    """There is no C compiler here, or it cannot build the shim."""


class MovedClock:
    """The offset that every program started by `wrapper` adds to its wall clock."""

    def __init__(self, folder: Path) -> None:
        """Raises NoCompiler."""
        folder.mkdir(parents=True, exist_ok=True)
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise NoCompiler("no C compiler (cc) for the clock shim")
        self._library = folder / "clock_shim.so"
        built = subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-o", str(self._library), str(SOURCE)],
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode != 0:
            raise NoCompiler(f"the clock shim cannot be built: {built.stderr.strip()[-200:]}")
        self._file = folder / "clock_offset"
        self._file.write_bytes(bytes(8))
        self._folder = folder
        with self._file.open("r+b") as opened:
            self._mapped = mmap.mmap(opened.fileno(), 8)

    @property
    def offset_ms(self) -> int:
        return int.from_bytes(self._mapped[:8], "little", signed=True)

    @offset_ms.setter
    def offset_ms(self, offset: int) -> None:
        self._mapped[:8] = offset.to_bytes(8, "little", signed=True)

    def wrapper(self, program: Path) -> Path:
        """A program that is `program` under this clock."""
        path = self._folder / f"{program.name}-with-clock"
        path.write_text(
            "#!/bin/sh\n"
            f"LD_PRELOAD={shlex.quote(str(self._library))} TORTURE_CLOCK={shlex.quote(str(self._file))} "
            f'exec {shlex.quote(str(program))} "$@"\n'
        )
        os.chmod(path, 0o700)
        return path
