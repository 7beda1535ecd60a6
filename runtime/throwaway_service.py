"""A whole service of its own for one command: `holdfast up` on a temporary data directory and a free port.

Owns its start, its keys and its removal. Never touches a service or a data directory that was there before.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from runtime.child_process import spawn, stop
from runtime.data_folder import SERVERS_FILE, RunningServers, new_key
from runtime.settings import PREFIX

START_TIMEOUT_S: Final = 120.0
"""A first start makes a database cluster; on a busy machine that takes its time."""

STOP_TIMEOUT_S: Final = 30.0
_LOG_END: Final = 2_000
_START: Final = "import sys; from runtime.cli import main; sys.exit(main())"


class ThrowawayFailed(Exception):
    """The service did not start; the message holds the end of its log."""


class ServiceAddress(Struct, frozen=True):
    """A running service and the keys to drive it with."""

    url: str
    admin_key: str
    storefront_key: str
    pid: int = 0
    """Process of the supervisor; 0 when it is not ours."""

    def __repr__(self) -> str:
        """Without the keys: this may end up in a traceback."""
        return f"ServiceAddress({self.url})"


@contextmanager
def throwaway_service(workers: int = 1, extra: Mapping[str, str] | None = None) -> Iterator[ServiceAddress]:
    """Start a service with `workers` API processes, give its address, then stop it and remove its data.

    `extra`: further HOLDFAST_* variables. HOLDFAST_* variables of our own environment do not reach it. Raises
    ThrowawayFailed.
    """
    folder = Path(tempfile.mkdtemp(prefix="holdfast-throwaway-"))
    try:
        address = ServiceAddress("", new_key(), new_key())
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment |= {
            "HOLDFAST_DATA_DIR": str(folder / "data"),
            "HOLDFAST_HOST": "127.0.0.1",
            "HOLDFAST_PORT": "0",
            "HOLDFAST_WORKERS": str(workers),
            "HOLDFAST_ADMIN_KEY": address.admin_key,
            "HOLDFAST_STOREFRONT_KEY": address.storefront_key,
            "HOLDFAST_LOG_LEVEL": "warning",
            **(extra or {}),
        }
        log = folder / "up.log"
        with log.open("wb") as output:
            process = spawn([sys.executable, "-c", _START, "up"], env=environment, output=output)
        try:
            url = _wait_for_address(process, folder / "data" / SERVERS_FILE, log)
            yield msgspec.structs.replace(address, url=url, pid=process.pid)
        finally:
            stop(process, signal.SIGTERM, STOP_TIMEOUT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_address(process: subprocess.Popen[bytes], servers: Path, log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        code = process.poll()
        if code is not None:
            raise ThrowawayFailed(f"the service ended with code {code} while starting:\n{_end_of(log)}")
        try:
            return msgspec.json.decode(servers.read_bytes(), type=RunningServers).http_url
        except (OSError, msgspec.MsgspecError):
            # Not there yet, or half-written.
            if time.monotonic() > deadline:
                raise ThrowawayFailed(
                    f"the service gave no address within {START_TIMEOUT_S:g} s:\n{_end_of(log)}"
                ) from None
        time.sleep(0.02)


def _end_of(log: Path) -> str:
    return log.read_bytes()[-_LOG_END:].decode(errors="replace")
