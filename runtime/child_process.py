"""Starts programs that can't outlive us: when this process ends, even by SIGKILL, they are signalled.

Owns the fork, the change of user and the death signal; never decides what to run or when to restart it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from msgspec import Struct

_PR_SET_PDEATHSIG: Final = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ServerUser(Struct, frozen=True):
    """The account a server runs as."""

    name: str
    uid: int
    gid: int


def unprivileged_user() -> ServerUser:
    """The account for a server that refuses to run as root: ours, or `nobody` when we are root.

    Raises RuntimeError if the account has no name, since Postgres insists on one.
    """
    try:
        entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError as missing:
        raise RuntimeError(f"no account for the embedded Postgres to run as: {missing}") from None
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def die_with_parent(death_signal: signal.Signals, parent_pid: int) -> Callable[[], None]:
    """What a child must run between fork and exec so that it gets `death_signal` when its parent ends.

    Linux only; elsewhere a child of a killed parent stays until the next start finds it through the data
    directory's lock. The kernel watches the *thread* that forked: call from one that lives as long as we do.
    """

    def prepare() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent_pid:  # it ended before the call above: nobody would ever signal us
            os._exit(1)

    return prepare


def spawn(
    argv: Sequence[str | Path],
    *,
    death_signal: signal.Signals = signal.SIGTERM,
    user: ServerUser | None = None,
    keep_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    output: IO[bytes] | int | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` in its own process group (a terminal's Ctrl-C reaches only us), stdin closed.

    `user`: run as this account if we are root. `keep_fds` stay open in the child under the same numbers.
    `output` takes both stdout and stderr.
    """
    change = user is not None and os.geteuid() == 0
    return subprocess.Popen(  # noqa: S603
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        env=None if env is None else dict(env),
        cwd=cwd,
        pass_fds=tuple(keep_fds),
        process_group=0,
        user=user.uid if change and user is not None else None,
        group=user.gid if change and user is not None else None,
        extra_groups=[] if change else None,
        preexec_fn=die_with_parent(death_signal, os.getpid()),  # noqa: PLW1509 - nothing else can set it
    )


def stop(process: subprocess.Popen[bytes], how: signal.Signals, timeout_s: float) -> int:
    """Ask `process` to end with signal `how`, kill it after `timeout_s`; its exit code."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
