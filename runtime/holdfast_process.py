"""One API, worker or job process as its parent sees it: how it is started, when it is ready, how it ends.

Owns the command line between parent and child (see runtime/process_main.py); never decides about restarts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from runtime.child_process import spawn, stop

_LAST_WORDS_BYTES = 4096


class HoldfastProcess:
    """A child that runs our own code. It writes one byte to a pipe when it is ready to serve."""

    def __init__(
        self,
        role: Literal["api", "worker", "jobs"],
        name: str,
        *,
        environment: Mapping[str, str],
        listen_fd: int | None = None,
        arguments: Sequence[str] = (),
        log_path: Path | None = None,
    ) -> None:
        """`environment`: the whole of it. `log_path`: where its log goes; None: our own standard error."""
        self.role = role
        self.name = name
        self._environment = dict(environment)
        self._listen_fd = listen_fd
        self._arguments = tuple(arguments)
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_fd: int | None = None
        self._ready = False

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process. Raises RuntimeError before the first launch."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def launch(self) -> None:
        """Start without waiting. Raises OSError."""
        self._forget_pipe()
        self._ready = False
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._ready_fd = reader
        command = [sys.executable, "-m", "runtime.process_main", self.role, "--name", self.name]
        command += ["--ready-fd", str(writer)]
        kept = [writer]
        if self._listen_fd is not None:
            command += ["--listen-fd", str(self._listen_fd)]
            kept.append(self._listen_fd)
        try:
            with open(self._log_path or os.devnull, "ab") as log:
                self._process = spawn(
                    [*command, *self._arguments],
                    death_signal=signal.SIGTERM,
                    keep_fds=kept,
                    env=self._environment,
                    output=log if self._log_path is not None else None,
                )
        finally:
            os.close(writer)

    def is_ready(self) -> bool:
        """True once the child has said so."""
        if not self._ready and self._ready_fd is not None:
            try:
                self._ready = os.read(self._ready_fd, 1) != b""
            except BlockingIOError:
                return False
            self._forget_pipe()
        return self._ready

    def stop(self, timeout_s: float) -> None:
        """Ask it to finish what it has begun and end; kill it after `timeout_s`."""
        if self._process is not None:
            stop(self._process, signal.SIGTERM, timeout_s)
        self._forget_pipe()

    def end_of_log(self) -> str:
        """The last line of its log, if it has one of its own."""
        if self._log_path is None or not self._log_path.exists():
            return ""
        with self._log_path.open("rb") as log:
            log.seek(max(0, self._log_path.stat().st_size - _LAST_WORDS_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return lines[-1].strip() if lines else ""

    def _forget_pipe(self) -> None:
        if self._ready_fd is not None:
            os.close(self._ready_fd)
            self._ready_fd = None
