"""`holdfast up` as a test drives it: started, its output read, its processes known, ended one way or another.

Owns the child process; never asserts anything about the service.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from runtime.data_folder import read_bootstrap_keys
from tests.waiting import wait_until

START_S = 120.0
_ADDRESS = re.compile(r"^Holdfast \S+ at (http://\S+)", re.MULTILINE)


def clean_environment() -> dict[str, str]:
    """Without anybody's settings, and without the width of a terminal: it decides which columns a table shows."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HOLDFAST_") and name not in {"COLUMNS", "LINES"}
    }


class Up:
    """One `holdfast up`."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        user: int | None = None,
        port: int = 0,
    ) -> None:
        self.data_dir = data_dir
        launcher = command or [sys.executable, "-c", "from runtime.cli import main; main()"]
        self.process = subprocess.Popen(
            [*launcher, "up", "--data-dir", str(data_dir), "--port", str(port), "--workers", "1", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**clean_environment(), **(environment or {})},
            user=user,
            group=user,
            extra_groups=[] if user is not None else None,
            cwd="/" if user is not None else None,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line.decode(errors="replace"))

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def wait_until_ready(self) -> Up:
        def ready() -> bool:
            assert self.process.poll() is None, self.output
            return "/inventory/reserve" in self.output

        wait_until(ready, START_S, "holdfast up is ready")
        return self

    @property
    def url(self) -> str:
        match = _ADDRESS.search(self.output)
        assert match, self.output
        return match[1]

    def client(self, role: str = "admin") -> httpx.Client:
        keys = read_bootstrap_keys(self.data_dir)
        assert keys is not None
        key = keys.admin_key if role == "admin" else keys.storefront_key
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def pids(self, part: str = "") -> list[int]:
        """Every descendant whose command line holds `part`."""
        return [pid for pid in descendants(self.process.pid) if part in command_line(pid)]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        code = self.process.wait(timeout_s)
        self._reader.join(60)
        return code

    def stop(self) -> int:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = _parent(int(entry.name))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        next_ones = children.get(waiting.pop(), [])
        found += next_ones
        waiting += next_ones
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
