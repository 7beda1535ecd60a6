"""Where the unix sockets of the embedded servers lie: in the data directory, unless that is too deep.

Owns the length rule of the operating system; never opens a socket.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

MAX_SOCKET_PATH: Final = 103
"""Bytes a socket's path may have everywhere: 107 on Linux, 103 on macOS."""

_LONGEST_NAME: Final = "/.s.PGSQL.65535"


def socket_folder(folder: Path) -> Path:
    """A private folder (mode 0700) for sockets: `folder`/run, or a fresh one in the temporary directory."""
    inside = folder.absolute() / "run"
    if len(str(inside).encode()) + len(_LONGEST_NAME) <= MAX_SOCKET_PATH:
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        return inside
    return Path(tempfile.mkdtemp(prefix="holdfast-", dir="/tmp"))
